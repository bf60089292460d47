"""`parking money`: what one visit cost and paid, and the decisions that people make about money."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from onebox import connection

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from parking_core.flows.correct_money import Corrected, Decision

_Visit = Annotated[int, typer.Argument(metavar="VISIT", help="Number of the visit.")]
_Terminal = Annotated[str, typer.Argument(metavar="TERMINAL", help="Terminal number of the transaction.")]
_Serial = Annotated[str, typer.Argument(metavar="SERIAL", help="Terminal serial of the transaction.")]
_Promise = Annotated[
    str, typer.Argument(metavar="PROMISE", help="Code of a reservation, or of a permit with the month: P-...:2026-11.")
]
_By = Annotated[str, typer.Option(help="Who decides; kept in the journal.")]
_Reason = Annotated[str, typer.Option(help="Why; kept in the journal.")]
_Key = Annotated[str, typer.Option(help="Name of the decision: the same one again changes nothing.")]
_Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(
        no_args_is_help=True,
        help="""One visit's money, and the decisions that people make about it.

        Nothing is ever edited: every decision is a further entry in the journal, with who made it and why.

        Typical: `show 17` (what happened?), then `refund`, `write-off`, `release`, `reject` or `bad-debt`.
        """,
    )
    group.command("show")(show)
    group.command("refund")(refund)
    group.command("refund-paid")(refund_paid)
    group.command("write-off")(write_off)
    group.command("set-off")(set_off)
    group.command("release")(release)
    group.command("reject")(reject)
    group.command("bad-debt")(bad_debt)
    group.command("promise")(promise)
    group.command("give-back")(give_back)
    group.command("trial-balance")(trial_balance)
    app.add_typer(group, name="money")


def show(visit: _Visit, *, as_json: _Json = False) -> None:
    """Show one visit from its lane messages to its balance. Plates are masked.

    The balance is what the visit owes: above 0 arrears, below 0 it was paid too much.

    Example:
        parking money show 17
    """
    from onebox.commands import money_page

    with connection.database(_url()) as db:
        page = money_page.read(db, visit)
    typer.echo(page.as_json() if as_json else page.as_text())


def refund(
    visit: _Visit,
    fen: Annotated[int, typer.Argument(metavar="FEN", min=1, help="How much, in fen.")],
    *,
    reason: _Reason,
    by: _By,
    channel: Annotated[
        str, typer.Option(help="How it is paid: bank, qr:<acquirer>, cash:<operator>; by default as it came.")
    ] = "",
    key: _Key = "",
) -> None:
    """Order a refund: first stage, the driver is to get money back. `refund-paid` books that it was paid.

    What was paid too much is given back; more than that lessens what the visit cost. Without --key a visit has one
    refund of an amount: for a second of the same amount name another key.

    Example:
        parking money refund 17 500 --by "Chen Li" --reason "paid by card and by phone"
    """
    from parking_core.flows.correct_money import order_refund

    decision = _decision(key or f"{visit}-{fen}", by, reason)
    done = _do(lambda db: order_refund(db, visit, fen, decision, datetime.now(UTC), channel=channel, zone=_zone()))
    _say(
        done,
        f"is to be paid back by {done.channel}; when it was: parking money refund-paid {visit} --key {decision.key}",
    )


def refund_paid(
    visit: _Visit,
    *,
    key: Annotated[str, typer.Option(help="Key of the refund, as `refund` said it.")],
    by: _By,
    reason: _Reason = "paid as ordered",
) -> None:
    """Book that an ordered refund was paid: second stage.

    Example:
        parking money refund-paid 17 --key 17-500 --by "Chen Li"
    """
    from parking_core.flows.correct_money import pay_refund

    done = _do(lambda db: pay_refund(db, visit, _decision(key, by, reason), datetime.now(UTC)))
    _say(done, f"was paid back by {done.channel}")


def write_off(
    visit: _Visit,
    *,
    reason: _Reason,
    by: _By,
    fen: Annotated[int | None, typer.Option(min=1, help="Only a part, in fen; by default all that it owes.")] = None,
    key: _Key = "",
) -> None:
    """Give up what a visit owes. Without --key a visit is written off once.

    Example:
        parking money write-off 17 --by "Chen Li" --reason "the vehicle was deregistered"
    """
    from parking_core.flows.correct_money import write_off as give_up

    decision = _decision(key or str(visit), by, reason)
    done = _do(lambda db: give_up(db, visit, decision, datetime.now(UTC), amount_fen=fen, zone=_zone()))
    _say(done, "was written off")


def set_off(visit: _Visit, *, reason: _Reason, by: _By, key: _Key = "") -> None:
    """Set what a visit was paid too much against what its vehicle owes for other visits, the oldest first.

    Example:
        parking money set-off 17 --by "Chen Li" --reason "paid the old visits at the exit"
    """
    from parking_core.flows.correct_money import set_off as against_arrears

    decision = _decision(key or f"set-off-{visit}", by, reason)
    _say(
        _do(lambda db: against_arrears(db, visit, decision, datetime.now(UTC), zone=_zone())),
        "now pays other visits of the vehicle",
    )


def release(terminal: _Terminal, serial: _Serial, *, reason: _Reason, by: _By) -> None:
    """Send a held ETC transaction to the clearing centre after all.

    Example:
        parking money release 320100000001 00012345 --by "Chen Li" --reason "the balance was misread"
    """
    from parking_core.flows.correct_money import release_held

    decision = _decision(f"{terminal}:{serial}", by, reason)
    _say(
        _do(lambda db: release_held(db, (terminal, serial), decision, datetime.now(UTC), zone=_zone())),
        "goes to the clearing centre",
    )


def reject(terminal: _Terminal, serial: _Serial, *, reason: _Reason, by: _By) -> None:
    """Do not claim an ETC transaction that is held, or whose TAC never came: the visit owes the money again.

    Example:
        parking money reject 320100000001 00012345 --by "Chen Li" --reason "test card"
    """
    from parking_core.flows.correct_money import reject_held

    decision = _decision(f"{terminal}:{serial}", by, reason)
    _say(
        _do(lambda db: reject_held(db, (terminal, serial), decision, datetime.now(UTC), zone=_zone())),
        "is owed by its visit again",
    )


def bad_debt(terminal: _Terminal, serial: _Serial, *, reason: _Reason, by: _By) -> None:
    """Book an ETC transaction that nobody will pay; its driver is not asked again.

    Example:
        parking money bad-debt 320100000001 00012345 --by "Chen Li" --reason "no reply from the lane in a month"
    """
    from parking_core.flows.correct_money import book_bad_debt

    decision = _decision(f"{terminal}:{serial}", by, reason)
    _say(
        _do(lambda db: book_bad_debt(db, (terminal, serial), decision, datetime.now(UTC), zone=_zone())), "is bad debt"
    )


def promise(code: _Promise, *, as_json: _Json = False) -> None:
    """Show what a promise of a shared space cost, and what was given back of it.

    Examples:
        parking money promise R-2345678923
        parking money promise P-2345678923:2026-11
    """
    from onebox.commands import money_page

    with connection.database(_url()) as db:
        page = money_page.read_promise(db, code)
    typer.echo(page.as_json() if as_json else page.as_text())


def give_back(
    code: _Promise,
    *,
    amount: Annotated[int, typer.Option(min=1, help="How much, in fen.")],
    reason: _Reason,
    by: _By,
    number: Annotated[
        int, typer.Option(min=1, help="Which correction of this promise: the same one again changes nothing.")
    ] = 1,
) -> None:
    """Give back what a promise of a shared space was wrongly charged; its lot's owner bears his part.

    Without --number a promise is corrected once; for a second time say --number 2.

    Example:
        parking money give-back R-2345678923 --amount 600 --by "Chen Li" --reason "the exit was seen late"
    """
    from parking_core.flows.give_back_promise import give_back as back

    decision = _decision(str(number), by, reason)
    done = _do(lambda db: back(db, code, amount, decision, datetime.now(UTC), number=number, zone=_zone()))
    _say(done, f"of promise {code} is given back by {done.channel}")


def trial_balance(*, as_json: _Json = False) -> None:
    """Every account with its debits and credits; both sums are equal, or something is broken (exit code 1).

    Example:
        parking money trial-balance
    """
    from onebox.commands import money_page
    from parking_core.store import journal

    with connection.database(_url()) as db:
        rows = journal.trial_balance(db)
        silent = journal.entries_without_postings(db)
    if as_json:
        typer.echo(json.dumps([money_page.balance_record(row) for row in rows]))
    else:
        typer.echo(money_page.balance_text(rows))
    for key in silent:
        typer.echo(f"Entry {key} has no postings.", err=True)
    if silent or sum(row.balance_fen for row in rows):
        raise typer.Exit(1)


def _url() -> str:
    """The worker's login where the services are private: not even the owner's mistakes can edit the journal by it."""
    return connection.settings(process="worker").database_url


def _decision(key: str, by: str, reason: str) -> Decision:
    from parking_core.flows.correct_money import Decision

    return Decision(key=key, by=by, reason=reason)


def _zone() -> ZoneInfo:
    return ZoneInfo(connection.settings().time_zone)


def _do(step: Callable[[psycopg.Connection[Any]], Corrected]) -> Corrected:
    with connection.database(_url()) as db:
        return step(db)


def _say(done: Corrected, what: str) -> None:
    before = "" if done.new else " (booked before: nothing changed)"
    typer.echo(f"{done.amount_fen} fen {what}{before}. Journal entry {done.entry}.")
