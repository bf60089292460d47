"""`parking seed`: fills the registry from a district file, or with the synthetic district."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003  # typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from onebox import connection
from parking_core.errors import InvalidInputError

if TYPE_CHECKING:
    from parking_core.districts import District

_SHOWN_PROBLEMS = 50


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(seed)


def seed(
    file: Annotated[
        Path | None, typer.Argument(exists=True, dir_okay=False, readable=True, help="District file (JSON).")
    ] = None,
    *,
    lots: Annotated[int, typer.Option(min=10, max=100_000, help="Lots of the synthetic district.")] = 500,
    random_seed: Annotated[
        int, typer.Option("--seed", help="The same number gives the same synthetic district.")
    ] = 20_240,
) -> None:
    """Load a district: areas, operators, lots, spaces, devices. Repeatable: loading it again changes nothing.

    Without FILE a synthetic district is made (500 lots, 21,000 spaces). A file with any bad row is refused as a
    whole, with a report of every bad row. The format is described in parking_core/districts.py.

    Lots that never had a tariff get one that comes with the platform: Wuxi's published prices on the street and at
    hospitals, example prices elsewhere. `parking tariff publish` replaces it; what a lot has already stays. So does the
    sharing agreement of a lot; where there is none, the one of the file is published.

    Examples:
        parking seed

        parking seed district.json
    """
    if file is None:
        from simulators.district import DistrictSize, generate_district  # other commands start faster

        district = generate_district(DistrictSize(lots=lots), random_seed)
    else:
        district = read_district(file)
    changed = load(connection.settings().database_url, district)
    spaces, devices = district.space_count(), district.device_count()
    typer.echo(f"{district.name}: {len(district.lots)} lots, {spaces} spaces, {devices} devices are in the registry.")
    news = ", ".join(f"{count} {what}" for what, count in changed.items() if count)
    typer.echo(f"New or changed: {news}." if news else "Nothing was new.")


def read_district(file: Path) -> District:
    """The district of a file.

    Raises:
        InvalidInputError: some rows are bad; each is named.
    """
    from parking_core.districts import parse_district  # other commands start faster

    parsed = parse_district(file.read_bytes())
    if not isinstance(parsed, list):
        return parsed
    lines = [f"  {problem}" for problem in parsed[:_SHOWN_PROBLEMS]]
    if len(parsed) > _SHOWN_PROBLEMS:
        lines.append(f"  and {len(parsed) - _SHOWN_PROBLEMS} more")
    what = "1 problem" if len(parsed) == 1 else f"{len(parsed)} problems"
    raise InvalidInputError("\n".join([f"{file} was not loaded, it has {what}; correct these rows:", *lines]))


def load(database_url: str, district: District) -> dict[str, int]:
    """Seed with a progress bar on stderr; counts of new or changed rows, a table each."""
    from parking_core.flows.seed_agreements import seed_agreements  # other commands start faster
    from parking_core.flows.seed_district import seed_district  # same
    from parking_core.flows.seed_tariffs import seed_tariffs  # same

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        total = len(district.lots) + district.space_count() + district.device_count()
        task = bar.add_task("loading", total=total)
        counted = ("lots", "spaces", "devices")

        def on_rows(table: str, rows: int) -> None:
            bar.update(task, description=f"loading {table}", advance=rows if table in counted else 0)

        changed = seed_district(database_url, district, on_rows)
        bar.update(task, description="binding tariffs")
        with connection.database(database_url) as db:
            changed["tariffs of lots"] = seed_tariffs(db, district, datetime.now(UTC))
            changed["sharing agreements"] = seed_agreements(db, district, datetime.now(UTC))
        return changed
