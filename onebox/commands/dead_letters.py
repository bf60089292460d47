"""`parking dead-letters`: messages that could not be used, with the reason; try them again after mending the cause."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import psycopg
import typer

from onebox import connection
from parking_core.errors import ServiceUnavailableError
from parking_core.store import dead_letters

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.retry import Outcome
    from parking_core.store.dead_letters import DeadLetter

_Answer = TypeVar("_Answer")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(
        no_args_is_help=True,
        help="""Messages that the gateway could not use: kept whole, with the reason.

        Typical: `list`, mend the cause (register a device, correct a sensor), `retry`.
        """,
    )
    group.command("list")(list_letters)
    group.command("show")(show)
    group.command("retry")(retry)
    app.add_typer(group, name="dead-letters")


def list_letters(
    *,
    reason: Annotated[str, typer.Option(help="Only this reason code, for example unknown_device.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, the newest first.")] = 20,
    resolved: Annotated[bool, typer.Option("--resolved", help="Also those that a retry could use.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List dead letters, the newest first, and count them by reason.

    Example:
        parking dead-letters list --reason unknown_device
    """

    async def read(db: psycopg.AsyncConnection[Any]) -> tuple[list[DeadLetter], dict[str, int]]:
        letters = await dead_letters.newest(db, limit, reason=reason or None, resolved_too=resolved)
        return letters, await dead_letters.count_by_reason(db)

    letters, counts = _ask(read)
    if as_json:
        for letter in letters:
            typer.echo(json.dumps(_as_record(letter), ensure_ascii=False))
        return
    from rich.console import Console  # loading it costs every other command 0.1 s
    from rich.table import Table  # same

    table = Table("id", "received", "topic", "reason", "detail", "bytes")
    for letter in letters:
        received = letter.received_at.isoformat(timespec="seconds")
        table.add_row(str(letter.id), received, letter.topic, letter.reason, letter.detail, str(len(letter.payload)))
    console = Console()
    console.print(table)
    summary = ", ".join(f"{count} {name}" for name, count in counts.items())
    console.print(f"Open: {summary}." if counts else "There are no open dead letters.")


def show(letter_id: Annotated[int, typer.Argument(metavar="ID", help="Number of the letter.")]) -> None:
    """Show one dead letter as JSON, its payload included (as text where it is text, else as hex).

    Example:
        parking dead-letters show 17
    """
    letter = _ask(lambda db: dead_letters.get(db, letter_id))
    record = _as_record(letter)
    try:
        record["payload"] = letter.payload.decode()
    except UnicodeDecodeError:
        record["payload_hex"] = letter.payload.hex()
    record["payload_bytes"] = len(letter.payload)
    typer.echo(json.dumps(record, ensure_ascii=False, indent=2))


def retry(letter_ids: Annotated[list[int], typer.Argument(metavar="ID...", help="Numbers of the letters.")]) -> None:
    """Try letters again with today's registry; one that can be used is recorded once and resolved.

    Exit code 1 when one is still refused or does not exist; the others are tried all the same.

    Example:
        parking dead-letters retry 17 18
    """
    from redis.exceptions import RedisError  # loading these costs every other command 0.2 s

    from gateway.retry import retry_letters  # same

    async def try_all() -> bool:
        done = True
        async for outcome in retry_letters(connection.settings(), letter_ids):
            typer.echo(_said(outcome))
            done = done and not (outcome.refusal or outcome.unknown)
        return done

    try:
        done = asyncio.run(try_all())
    except psycopg.OperationalError as error:
        raise _unreachable(error) from error
    except RedisError as error:
        raise ServiceUnavailableError(
            f"The letter is recorded, but Redis cannot be reached to show it ({error}); "
            "run `parking rebuild` when it is back, then retry the letters that are left."
        ) from error
    if not done:
        raise typer.Exit(1)


def _said(outcome: Outcome) -> str:
    if outcome.unknown:
        said = outcome.unknown
    elif outcome.before:
        said = "was used before, nothing to do"
    elif outcome.refusal:
        said = f"still refused: {outcome.refusal}"
    else:
        said = f"used, {outcome.readings} readings"
    return f"{outcome.letter_id}: {said}"


def _as_record(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "received_at": letter.received_at.isoformat(),
        "topic": letter.topic,
        "reason": letter.reason,
        "detail": letter.detail,
        "resolved_at": letter.resolved_at.isoformat() if letter.resolved_at else None,
    }


def _ask(question: Callable[[psycopg.AsyncConnection[Any]], Awaitable[_Answer]]) -> _Answer:
    async def ask() -> _Answer:
        async with await psycopg.AsyncConnection.connect(connection.settings().database_url, autocommit=True) as db:
            return await question(db)

    try:
        return asyncio.run(ask())
    except psycopg.OperationalError as error:
        raise _unreachable(error) from error


def _unreachable(error: psycopg.OperationalError) -> ServiceUnavailableError:
    return ServiceUnavailableError(f"The database cannot be asked ({error}); is it running? Try `parking status`.")
