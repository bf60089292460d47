"""A simulated month of the seven lots with lanes: every fen accounted for, every injected fault found and named."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from onebox.ports import choose
from parking_core.clearing.envelope import Parties
from parking_core.flows import chase_payments
from parking_core.flows.close_month import close_month, month_of, set_revenue_share
from parking_core.flows.follow_lanes import Desk, give_up_stays
from parking_core.flows.grant_permits import grant_permit
from parking_core.flows.pack_transactions import pack_ready
from parking_core.flows.reconcile import audit_money, reconcile_bills, reconcile_hours
from parking_core.flows.recover_arrears import offer_arrears
from parking_core.flows.report_month import report_month
from parking_core.flows.seed_district import seed_district
from parking_core.flows.seed_tariffs import seed_tariffs
from parking_core.flows.settle_transactions import flag_missing_tacs
from parking_core.flows.watch_lane_gaps import watch_lane_gaps
from parking_core.flows.watch_references import watch_references
from parking_core.reports.page import page
from parking_core.settings import Settings
from parking_core.store import journal
from parking_core.store.permits import ListedPermit
from simulators.month.visits import Channel
from tests.acceptance.counterparts import Counterparts
from tests.acceptance.load import Load
from tests.acceptance.month import FOUND, ZONE, Expected, draw_month, expect, month_to_play, pilot_lots
from tests.acceptance.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from parking_core.statements import Statement
    from simulators.month.records import Month
    from tests.acceptance.stage import Stage

pytestmark = [pytest.mark.services, pytest.mark.acceptance]

DISTRICT_PERMILLE = 120


@pytest.fixture
def counterparts(tmp_path: Path) -> Iterator[Counterparts]:
    others = Counterparts(tmp_path)
    yield others
    others.stop()


@dataclass
class Played:
    """A month on its way through the platform."""

    stage: Stage
    others: Counterparts
    month: Month
    expected: Expected
    begins_at: datetime
    ends_at: datetime
    api_port: int

    def db(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.stage.database_url, autocommit=True)

    def waiting(self) -> int:
        """Records and notices that nobody has processed, and transactions on their way to the centre."""
        ((count,),) = self.stage.query(
            "SELECT (SELECT count(*) FROM lane_events WHERE processed_at IS NULL)"
            " + (SELECT count(*) FROM lane_repeats WHERE processed_at IS NULL)"
            " + (SELECT count(*) FROM payment_notices WHERE processed_at IS NULL)"
        )
        return int(count)

    def under_way(self) -> int:
        """Transactions that the centre has not decided."""
        ((count,),) = self.stage.query("SELECT count(*) FROM etc_transactions WHERE state IN ('ready', 'packed')")
        return int(count)


def prepare(stage: Stage, others: Counterparts, *, seed: int, visits: int, days: int | None) -> Played:
    """The lots, their tariffs, permits and shares; all processes run."""
    now = datetime.now(UTC)
    begins_at, ends_at = month_to_play(now)
    if days is not None:
        ends_at = begins_at + timedelta(days=days)
    month = draw_month(seed, visits, begins_at, ends_at)
    expected = expect(month)
    lots = pilot_lots()
    seed_district(stage.database_url, lots)
    with psycopg.connect(stage.database_url, autocommit=True) as db:
        seed_tariffs(db, lots, now)
        for operator in lots.operators:
            set_revenue_share(db, operator.code, begins_at.date(), DISTRICT_PERMILLE)
        for lot, plate in sorted({(v.lot, v.vehicle.plate) for v in month.visits if v.channel is Channel.PERMIT}):
            grant_permit(db, ListedPermit(f"{lot}-{plate}", lot, "monthly", begins_at, ends_at, 1, (plate,)))
    port = choose(set())
    others.start(port)
    stage.gateway().start()
    stage.worker(**others.environ).start()
    stage.api(port, **others.environ).start()
    return Played(stage, others, month, expected, begins_at, ends_at, port)


def publish(played: Played, rate: float) -> tuple[float, float]:
    """All records, through broker, gateway and worker; gives the seconds of publishing and until all is followed."""
    begins = time.monotonic()
    Load(played.stage.services.mqtt_url, played.month.messages, rate).start().join()
    published_s = time.monotonic() - begins
    patience_s = 60 + len(played.month.messages) / 300
    played.stage.await_rows(played.expected.records, "lane_events", patience_s)
    until(lambda: not played.waiting(), patience_s, "records wait for ever")
    return published_s, time.monotonic() - begins


def pay(played: Played) -> int:
    """Drivers who pay by phone afterwards get a link and pay; gives how many they were."""
    by_key = {
        (vehicle, exited_at): visit
        for visit, vehicle, exited_at in played.stage.query("SELECT id, vehicle, exited_at FROM visits")
    }
    visits = {visit.number: visit for visit in played.month.visits}
    wanted = {
        by_key[visits[number].vehicle.plate, visits[number].exited_at]: fen
        for number, fen in played.expected.to_pay.items()
    }
    with played.db() as db:
        offered = offer_arrears(db, datetime.now(UTC), age=timedelta())
    links = {one.owing.visit_id: one for one in offered if one.owing.visit_id in wanted}
    assert {visit: one.owing.owed_fen for visit, one in links.items()} == wanted
    tokens = [one.pay_path.removeprefix("/v1/payments/") for one in links.values()]
    refused = played.others.pay(f"http://127.0.0.1:{played.api_port}", tokens)
    assert not refused
    paid = "SELECT count(*) FROM payments"
    until(lambda: played.stage.query(paid)[0][0] >= len(tokens), 120, "payments that nobody books")
    until(lambda: not played.waiting(), 60, "notices wait for ever")
    return len(tokens)


def clear(played: Played) -> None:
    """Packages go out, disputes are decided on the third day, days are paid."""
    with played.db() as db:  # what has not filled a package would wait for five minutes
        pack_ready(db, datetime.now(UTC), zone=ZONE, parties=Parties(sender=Settings.clearing_sender), everything=True)
    until(lambda: not played.under_way(), 120, "transactions that are never cleared")
    played.others.end_days(3)
    centre = played.others.centre
    until(lambda: centre.idle, 60, "messages of the centre that are never taken")
    until(
        lambda: not played.stage.query("SELECT 1 FROM clearing_messages WHERE applied_at IS NULL"),
        60,
        "messages of the centre that are never applied",
    )


def close(played: Played) -> tuple[list[Statement], float]:
    """What the worker does by the clock, now: gaps, lost TACs, stays without an end, hours, bills, the month."""
    now = datetime.now(UTC)
    with played.db() as db:
        watch_lane_gaps(db, now)
        watch_lane_gaps(db, now + timedelta(minutes=5))
        flag_missing_tacs(db, now, zone=ZONE)
        watch_references(db, now + timedelta(hours=1), ZONE)
        give_up_stays(db, Desk(ZONE), now)
        chase_payments.take_bill(db, "acq", now.astimezone(ZONE).date(), played.others.bill(), now)
        begins = time.monotonic()
        hours = reconcile_hours(db, played.begins_at, played.ends_at, ZONE, now)
        bills = reconcile_bills(db, ZONE)
        month = month_of(f"{played.begins_at:%Y-%m}", ZONE)
        closed = close_month(db, month, now)
        closing_s = time.monotonic() - begins
        assert hours.hours
        assert bills.bills >= 1
        assert page(report_month(db, month, ZONE, now)).count("每一分钱都有出处") == 1
    return list(closed.statements), closing_s


def check_money(played: Played, statements: list[Statement]) -> None:
    """The platform's books against the independent computation, the centre's books and the acquirer's."""
    expected = played.expected
    lots = [lot for statement in statements for lot in statement.lots]
    assert {lot.lot: lot.charged_fen for lot in lots if lot.charged_fen} == dict(+expected.charged)
    assert {lot.lot: lot.paid_fen.get("etc", 0) for lot in lots if lot.paid_fen.get("etc")} == dict(+expected.etc)
    with played.db() as db:
        balances = {one.code: one.balance_fen for one in journal.trial_balance(db)}
        audit = audit_money(db, ZONE)
    assert audit.passes, [line for line in audit.lines if line.unexplained_fen or line.unexplained_items]
    books = played.others.centre.books
    held = balances.get("etc_held", 0) + balances.get("etc_awaiting_tac", 0)
    assert sum(books.paid.values()) + sum(books.lost.values()) + held == sum(expected.etc.values())
    lost = sum(fen for code, fen in balances.items() if code.startswith("bad_debt:"))
    assert lost == sum(books.lost.values())
    assert balances.get("etc_clearing", 0) == balances.get("etc_disputed", 0) == 0
    by_phone = sum(expected.to_pay.values())
    billed = played.others.acquirer.books.truth()
    assert {day["payments_fen"] for day in billed.values()} == {by_phone}
    fees = balances.get("acquirer_fees", 0)
    assert balances["bank"] == sum(books.paid.values()) + by_phone - fees
    assert balances.get("acquirer:acq", 0) == 0


def check_findings(played: Played) -> Counter[str]:
    """What stands open is what was injected, and nothing else."""
    found = Counter((name, subject) for name, subject, _ in played.stage.query(FOUND.replace("%", "%%")))
    named = played.expected.findings
    assert not named - found, sorted((named - found).items())[:40]
    # Lost notices are the counterparts' doing; how many there were is theirs to say.
    strangers = {key: count for key, count in (found - named).items() if key[0] != "payment_notice_lost"}
    assert not strangers, sorted(strangers.items())[:40]
    return Counter(fault.kind for fault in played.month.injected)


def play(stage: Stage, others: Counterparts, *, visits: int, days: int | None, rate: float) -> None:
    """The whole month, from the first record to the operators' statements."""
    played = prepare(stage, others, seed=5, visits=visits, days=days)
    published_s, followed_s = publish(played, rate)
    phones = pay(played)
    clear(played)
    statements, closing_s = close(played)
    check_money(played, statements)
    faults = check_findings(played)
    stage.report(
        f"a month of {visits} visits, {len(played.month.messages)} lane messages: published in {published_s:.0f} s, "
        f"followed after {followed_s:.0f} s ({len(played.month.messages) / followed_s:.0f}/s), {phones} paid by phone, "
        f"closed in {closing_s:.1f} s; {faults.total()} faults of {len(faults)} kinds injected, all found, none else; "
        f"0 fen unexplained"
    )


def test_a_few_days_end_with_every_fen_explained(stage: Stage, counterparts: Counterparts) -> None:
    play(stage, counterparts, visits=2_000, days=5, rate=3_000)


@pytest.mark.heavy
@pytest.mark.timeout(3600)
def test_a_month_of_200_000_visits_ends_with_every_fen_explained(stage: Stage, counterparts: Counterparts) -> None:
    play(stage, counterparts, visits=200_000, days=None, rate=5_000)
