"""Messages that nobody can use, of every kind that a field bus, a firmware or an attacker makes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from parking_core.topics import Kind, device_topic
from tests.acceptance.load import Message
from tests.builders import a_payload

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

OCCUPANCY = device_topic("L1", "L1-001", Kind.OCCUPANCY)
HEARTBEAT = device_topic("L1", "L1-001", Kind.HEARTBEAT)
MEGABYTE = 1_000_000
POISON = (
    "'; DROP TABLE occupancy_events; --",
    '" OR 1=1 --',
    "\\'); DELETE FROM dead_letters; --",
    "%s",
    "{0}",
    "\u0000",
    "\\N",
    "\\.",
    "NULL",
    "001\t002",
    "\u202e001",
)

_anything = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_not_a_bool = _anything.filter(lambda value: not isinstance(value, bool))
_not_a_time: SearchStrategy[Any] = st.one_of(
    st.sampled_from(
        [
            None,
            True,
            "yesterday",
            "2026-02-30T00:00:00Z",
            "2026-01-01T00:00:00",
            "25:61",
            "",
            [],
            {},
            1e308,
            -1e308,
            10**30,
            -(10**30),
            10**400,
            "0001-01-01T00:00:00+23:59",
        ]
    ),
    st.text(alphabet="abcxyz -:", max_size=12),
    st.integers(min_value=253_402_300_800_000),
)
_not_a_number: SearchStrategy[Any] = st.one_of(
    st.sampled_from([-1, 2**32, 10**40, 1.5, "1", True, None, [], {}]), st.integers(min_value=2**32)
)
_not_a_measure = st.sampled_from(["3.6", True, [], {}, 1e7, -1e300, 10**20])
_not_a_code = st.one_of(st.integers(), st.booleans(), st.lists(st.integers(), max_size=2))


def _with(field: str, values: SearchStrategy[Any]) -> SearchStrategy[bytes]:
    return values.map(lambda value: json.dumps({**json.loads(a_payload(space="001", seq=1)), field: value}).encode())


def _without(field: str) -> bytes:
    return json.dumps({key: value for key, value in json.loads(a_payload()).items() if key != field}).encode()


def _truncated(cut: int) -> bytes:
    whole = a_payload(space="001", seq=7, battery_v=3.6)
    return whole[: 1 + cut % (len(whole) - 1)]


_payloads = st.one_of(
    st.integers(0, 200).map(_truncated),
    st.binary(max_size=40).filter(lambda raw: b"[" not in raw),
    st.binary(min_size=1, max_size=10).map(lambda raw: b'{"occupied":true,"at":1,"space":"\xff' + raw + b'"}'),
    st.sampled_from(["NaN", "Infinity", "-Infinity", "nan", "1e999", "0x10", "1_000", ".5", "01"]).map(
        lambda word: b'{"occupied":true,"at":%s}' % word.encode()
    ),
    st.integers(2, 30_000).map(lambda depth: b"[" * depth),
    st.integers(2, 8_000).map(lambda depth: b'{"x":' * depth),
    _anything.filter(lambda value: not isinstance(value, list)).map(lambda value: json.dumps(value).encode()),
    _with("occupied", _not_a_bool),
    _with("at", _not_a_time),
    _with("seq", _not_a_number),
    _with("battery_v", _not_a_measure),
    _with("space", _not_a_code),
    _with("space", st.sampled_from(POISON)),
    _with("space", st.text(min_size=4, max_size=12)),
    st.sampled_from(["occupied", "at"]).map(_without),
    st.just(b"[]"),
)
# 002 exists, but another device watches it; a device of 65 KiB says too much at once.
_foreign = st.integers(0, 10**6).map(lambda seq: a_payload(space="002", seq=seq))
_good = st.integers(1, 10**6).map(lambda seq: a_payload(space="001", seq=seq))
_code = st.text(alphabet="abcXYZ'\";-_.%\\ 停车", min_size=1, max_size=12)
_bad_messages = st.one_of(
    _payloads.map(lambda payload: Message(OCCUPANCY, payload)),
    _foreign.map(lambda payload: Message(OCCUPANCY, payload)),
    _payloads.filter(lambda payload: b'"at"' not in payload).map(lambda payload: Message(HEARTBEAT, payload)),
    st.builds(lambda code, payload: Message(f"parking/v1/L1/{code}/occupancy", payload), _code, _good),
    st.builds(lambda code, payload: Message(f"parking/v1/{code}/L1-001/occupancy", payload), _code, _good),
    st.builds(lambda code, payload: Message(f"parking/v1/L1/L1-001/{code}", payload), _code, _good),
    _good.map(lambda payload: Message("parking/v1/L2/L1-001/occupancy", payload)),
    _good.map(lambda payload: Message("parking/v1///occupancy", payload)),
)


def bad_messages(count: int) -> list[Message]:
    """`count` messages, the same each time; the last are of a megabyte."""
    large = [
        Message(OCCUPANCY, b'{"occupied":true,"at":1,"space":"' + b"x" * size) for size in range(MEGABYTE, MEGABYTE + 4)
    ]
    found: list[Message] = []

    @seed(20_260_801)
    @settings(
        max_examples=count - len(large),
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(_bad_messages)
    def collect(message: Message) -> None:
        found.append(message)

    collect()
    return found[: count - len(large)] + large
