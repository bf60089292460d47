"""`parking allocate`: who gets which shared space for a night, and how far from the best that is at most."""

from __future__ import annotations

import math
import sys
import time
from contextlib import contextmanager
from pathlib import Path  # noqa: TC003  # typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from parking_core.errors import InvalidInputError, ParkingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Task

_SHOWN_VIOLATIONS = 3


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(allocate)


def allocate(
    file: Annotated[Path, typer.Argument(metavar="INSTANCE.json", help="One night: shared-parking-alloc-1.")],
    *,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="RESULT.json", help="Without: to standard output.")
    ] = None,
    gap: Annotated[float, typer.Option(min=0, max=1, help="Good enough: (upper bound - value) / upper bound.")] = 5e-4,
    time_limit: Annotated[float, typer.Option(min=0.01, help="Seconds until the best found so far is taken.")] = 30.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the search; the same seed searches in the same order.")] = 1,
) -> None:
    """Allocate the shared spaces of one night to requests, for the greatest total value.

    The result is a JSON document: value, upper_bound (certified: no allocation is worth more), gap, seconds (all after
    reading the file, without the one-time compilation), group_of_request and space_of_request (-1: refused; spaces are
    numbered within their group). It is checked against the instance by code of its own before it is written.

    Examples:
        parking allocate night.json -o result.json

        parking allocate night.json --gap 0.0001 --time-limit 60
    """
    for option, number in (("--gap", gap), ("--time-limit", time_limit)):
        if not math.isfinite(number):
            raise typer.BadParameter(f"{number} is no limit.", param_hint=option)
    if output is not None and (output.is_dir() or not output.parent.is_dir()):
        where = f"there is no folder {output.parent}" if not output.is_dir() else "it is a folder"
        raise InvalidInputError(f"{output} cannot be written: {where}.")
    text = _read(file)
    _warm_up()
    began = time.monotonic()
    document = _parsed(file, text)
    result = _allocated(document, gap=gap, end=began + time_limit, seed=seed)
    result = {**result, "seconds": round(time.monotonic() - began, 3)}
    _write(result, output)
    served = sum(group >= 0 for group in result["group_of_request"])
    typer.echo(
        f"Value {result['value']:,} of at most {result['upper_bound']:,} (gap {100 * result['gap']:.4f} %), "
        f"{served} of {len(result['group_of_request'])} requests served, {result['seconds']:.2f} s.",
        err=output is None,
    )


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{file} cannot be read: {error.strerror}.") from error


def _parsed(file: Path, text: bytes) -> dict[str, Any]:
    """The document of a file; NaN and the like are no JSON."""
    import msgspec  # other commands start faster

    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(f"{file} is no JSON: {error}.") from error
    if not isinstance(document, dict):
        raise InvalidInputError(f'{file} is not of the format "shared-parking-alloc-1".')
    return document


def _warm_up() -> None:
    from parking_core.allocation.solve import warm_up  # other commands start faster

    warm_up()


def _allocated(document: dict[str, Any], *, gap: float, end: float, seed: int) -> dict[str, Any]:
    """The result document but for its seconds, found and checked.

    Raises:
        InvalidInputError: the document is not of its format.
        ParkingError: the result breaks a rule of the format, which no input should bring about.
    """
    from parking_core.allocation import colouring, solve  # other commands start faster
    from parking_core.allocation.instance import Instance  # same

    instance = Instance.from_document(document)
    left_s = max(0.0, end - time.monotonic())
    with _bar(left_s):
        found = solve.allocate(instance, gap=gap, time_limit_s=left_s, seed=seed)
    groups = found.group_of_request.tolist()
    spaces = colouring.spaces(instance, found.group_of_request).tolist()
    claim = colouring.Claim(found.value, found.upper_bound, found.gap)
    wrong = colouring.violations(document, groups, spaces, claim)
    if wrong:
        shown = " ".join(wrong[:_SHOWN_VIOLATIONS])
        raise ParkingError(f"The result breaks {len(wrong)} rules and was not written; this is a defect: {shown}")
    return {
        "value": claim.value,
        "upper_bound": claim.upper_bound,
        "gap": claim.gap,
        "seconds": 0.0,
        "group_of_request": groups,
        "space_of_request": spaces,
    }


@contextmanager
def _bar(limit_s: float) -> Iterator[None]:
    """A bar on a terminal's stderr that shows how much of the time limit has gone by."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console  # loading it costs every other command 0.1 s
    from rich.progress import Progress, ProgressColumn, TextColumn, TimeElapsedColumn  # same
    from rich.progress_bar import ProgressBar  # same

    class Limit(ProgressColumn):
        def render(self, task: Task) -> ProgressBar:
            return ProgressBar(total=limit_s, completed=min(task.elapsed or 0.0, limit_s), width=40)

    columns = (TextColumn("allocating"), Limit(), TimeElapsedColumn(), TextColumn(f"of at most {limit_s:.0f} s"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        progress.add_task("")
        yield


def _write(result: dict[str, Any], output: Path | None) -> None:
    import msgspec  # other commands start faster

    text = msgspec.json.encode(result).decode() + "\n"
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, "utf-8")
    except OSError as error:
        raise InvalidInputError(f"{output} cannot be written: {error.strerror}.") from error
