"""`parking decode`: what a sensor's payload means, by the same decoders that the gateway has."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated

import typer

from parking_core.errors import InvalidInputError

if TYPE_CHECKING:
    from gateway.decoders.sensors import Family, Model

_BESIDE_DIGITS = re.compile(r"0x|[\s:,\-]", re.IGNORECASE)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("decode")(decode)


def decode(
    *,
    vendor: Annotated[str, typer.Option(help="Family, as `--list` names it.")] = "",
    device: Annotated[str, typer.Option(help="Model of the family, as `--list` names it.")] = "",
    firmware: Annotated[str, typer.Option(help="Version of its firmware: some lay their bytes out otherwise.")] = "",
    port: Annotated[int, typer.Option(min=0, max=255, help="LoRaWAN port (FPort); 0 for other networks.")] = 0,
    hex_: Annotated[
        str | None, typer.Option("--hex", help="The payload; spaces, colons and 0x are passed over.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show families and models instead.")] = False,
) -> None:
    """Say what a payload means, or why it is refused. Needs no database and no broker.

    Prints the reading as JSON: kind (change, heartbeat, startup, count, information) and, where the device says it, occupied,
    battery_v, battery_state, temperature_c, rssi_dbm, seq, firmware; fields has the family's own names and values, quarantined
    what cannot be true. A payload that is refused prints why, and ends with 1.

    A device is registered with the same three words: family, model, firmware.

    Examples:
        parking decode --list
        parking decode --vendor bosch --device tps110 --port 1 --hex 01
        parking decode --vendor nwave --device nps405 --port 2 --hex "00 d3 d8 00 59 0b"
    """
    if list_:
        _show_families()
        return
    if not vendor or not device or hex_ is None:
        raise typer.BadParameter(
            "--vendor, --device and --hex are needed; `parking decode --list` shows what is known."
        )
    try:
        payload = bytes.fromhex(_BESIDE_DIGITS.sub("", hex_))
    except ValueError:
        raise typer.BadParameter(f"--hex {hex_!r} is no even number of hexadecimal digits.") from None
    family = _family(vendor)
    typer.echo(json.dumps(_read(family, _model(family, device), firmware, port, payload), ensure_ascii=False))


def _read(family: Family, model: Model, firmware: str, port: int, payload: bytes) -> dict[str, object]:
    from gateway.decoders import families  # other commands start faster
    from gateway.decoders.native.decoder import Refusal  # same
    from gateway.decoders.sensors import as_json  # same

    said = families.decode(family.slug, model.slug, firmware, port, payload)
    if isinstance(said, Refusal):
        raise InvalidInputError(f"The payload is refused ({said.reason}): {said.detail}")
    return as_json(said)


def _family(word: str) -> Family:
    from gateway.decoders.families import FAMILIES  # other commands start faster

    for family in FAMILIES.values():
        if _same(word, family.slug):
            return family
    raise InvalidInputError(f"No family {word!r} is known; known are {', '.join(FAMILIES)}.")


def _model(family: Family, word: str) -> Model:
    for model in family.models:
        if _same(word, model.slug):
            return model
    known = ", ".join(model.slug for model in family.models)
    raise InvalidInputError(f"{family.title} has no model {word!r}; known are {known}.")


def _same(word: str, slug: str) -> bool:
    """Whether a word is a slug, however it is spelled."""
    return re.sub(r"[\s_-]", "", word.lower()) == re.sub(r"[\s_-]", "", slug)


def _show_families() -> None:
    from rich.console import Console  # loading it costs every other command 0.1 s
    from rich.table import Table  # same

    from gateway.decoders.families import FAMILIES  # same

    table = Table("vendor", "device", "firmware", "what it is")
    for column in table.columns:
        column.overflow = "fold"
    for family in FAMILIES.values():
        for model in family.models:
            firmware = ", ".join(
                begin or "any" if len(model.layouts) == 1 else begin or "others" for begin in model.layouts
            )
            table.add_row(family.slug, model.slug, firmware, f"{family.title}: {model.title}")
    Console().print(table)
