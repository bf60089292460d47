"""A device with a credential of its own that means harm: refused or contained, visible, and the others do not notice.

Forged names, other devices' spaces, yesterday again, a hundred thousand messages in a minute, a credential that was rotated, packets that
are none: all at once, beside the traffic of the others, whose latency from publication to row is compared with that of quiet times.
"""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.request import urlopen

import psycopg
import pytest

from parking_core.flows import keep_credentials
from parking_core.store.keeper import Keeper
from parking_core.topics import Kind, device_topic
from tests.acceptance.attackers import Attacker, flooding, forging, garbling, knocking
from tests.acceptance.load import Load, Message
from tests.acceptance.processes import until as wait_for
from tests.builders import a_payload
from tests.network_builders import chirpstack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.stage import Stage

pytestmark = pytest.mark.services

THIEF, VICTIM, ROTATED = "L1-001", "L1-002", "L1-003"
EUI = "00c0ffee00000004"  # of L1-004, behind ChirpStack
GOOD_A_SECOND = 200
_LATENCY = """
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY late), percentile_disc(0.99) WITHIN GROUP (ORDER BY late), count(*)
FROM (SELECT extract(epoch FROM e.recorded_at - e.occurred_at) * 1000 AS late
      FROM occupancy_events e JOIN devices d ON d.id = e.device_id
      WHERE d.code LIKE 'L3-%%' AND e.occurred_at BETWEEN to_timestamp(%s) AND to_timestamp(%s)) AS of_others
"""


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def others(stage: Stage, seconds: float) -> Iterator[Message]:
    """What the devices of lot L3 say, each with the time at which it says it."""
    devices = [device for lot in stage.district.lots if lot.code == "L3" for device in lot.devices]
    for number in range(int(seconds * GOOD_A_SECOND)):
        device = devices[number % len(devices)]
        payload = a_payload(space=device.space, occupied=bool(number & 1), at=time.time() * 1000, seq=number + 1)
        yield Message(device_topic("L3", device.code, Kind.OCCUPANCY), payload)


def latency(stage: Stage, begin: float, end: float) -> tuple[float, float, int]:
    (row,) = stage.query(_LATENCY, begin, end)
    return float(row[0]), float(row[1]), int(row[2])


def metric(port: int, name: str) -> float:
    """A counter of the gateway; labels summed up unless the name has them."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:  # loopback
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


def labelled(port: int, name: str, **labels: str) -> float:
    wanted = ",".join(f'{key}="{value}"' for key, value in labels.items())
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:  # loopback
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name}{{{wanted}}}"))


def prepare(stage: Stage, port: int) -> dict[str, str]:
    """Gateway, worker, credentials; secret by device."""
    stage.execute(
        "UPDATE devices SET family = 'bosch', model = 'tps110', network = 'chirpstack', eui = %s WHERE code = 'L1-004'",
        EUI,
    )
    stage.gateway(PARKING_METRICS_PORT=str(port)).start()
    stage.worker(PARKING_MQTT_KEEPER_URL=stage.services.mqtt_keeper_url).start()
    keeper = Keeper(stage.services.mqtt_keeper_url)
    with psycopg.connect(stage.database_url, autocommit=True) as connection:
        return {
            device: keep_credentials.issue(connection, keeper, device, by="test", now=datetime.now(UTC))
            for device in (THIEF, VICTIM, ROTATED)
        }


def yesterday() -> list[Message]:
    """A day that was recorded: native messages, and uplinks of a network."""
    day_ms = int((time.time() - 86_400) * 1000)
    native = [
        Message(
            device_topic("L2", f"L2-{1 + number % 40:03}", Kind.OCCUPANCY),
            a_payload(occupied=bool(number & 1), at=day_ms + number * 1000, seq=number + 1),
        )
        for number in range(400)
    ]
    return native + uplinks(first_us=day_ms * 1000, number=100)


def uplinks(first_us: int, number: int) -> list[Message]:
    made = [
        chirpstack(eui=EUI, counter=counter, payload=bytes([counter & 1]), at_us=first_us + counter * 60_000_000)
        for counter in range(number)
    ]
    return [Message(message.topic, message.payload) for message in made]


def all_at_once(stage: Stage, secrets: dict[str, str], seconds: float) -> dict[str, Attacker]:
    """Everything but the replay, until it is over."""
    url, end = stage.services.mqtt_url, time.monotonic() + seconds
    own = device_topic("L1", THIEF, Kind.OCCUPANCY)
    now_ms = int(time.time() * 1000)
    forged = [
        device_topic("L1", VICTIM, Kind.OCCUPANCY),
        device_topic("L3", "L3-001", Kind.COMMAND),
        f"application/a/device/{EUI}/event/up",
    ]

    def readings(number: int) -> bytes:
        space = "002" if number % 10 == 0 else "001"  # every tenth for another device's space
        return a_payload(space=space, occupied=bool(number & 1), at=now_ms + number, seq=number + 1)

    return {
        "flood": Attacker(url, THIEF, secrets[THIEF]).begin(flooding(own, readings, 100_000 / 60, 100_000, end)),
        "forger": Attacker(url, VICTIM, secrets[VICTIM]).begin(
            forging([topic for topic in forged if VICTIM not in topic], b"{}", end)
        ),
        "thief": Attacker(url, ROTATED, secrets[ROTATED]).begin(knocking(end)),
        "garbler": Attacker(url, VICTIM, secrets[VICTIM]).begin(garbling(end)),
    }


def attack(stage: Stage, port: int, *, seconds: float, rounds: int) -> tuple[list[tuple[float, float]], dict[str, int]]:
    """Quiet and attacked times by turns: (p99 quiet, p99 attacked) in milliseconds of each round, and what was refused."""
    secrets = prepare(stage, port)
    with psycopg.connect(stage.database_url, autocommit=True) as connection:
        keep_credentials.issue(
            connection, Keeper(stage.services.mqtt_keeper_url), ROTATED, by="test", now=datetime.now(UTC)
        )
    recorded = yesterday()
    Load(stage.services.mqtt_url, recorded, rate=2_000, client_id="yesterday").start().join()
    stage.await_rows(len(recorded))
    pairs, refused = [], {"flood": 0, "forger": 0, "thief": 0, "garbler": 0}
    for _ in range(rounds):
        load = Load(
            stage.services.mqtt_url, others(stage, 2 * seconds + 4), rate=GOOD_A_SECOND, client_id="others"
        ).start()
        time.sleep(1)
        quiet = (time.time(), time.time() + seconds)
        time.sleep(seconds)
        attacked = (time.time() + 0.5, time.time() + seconds)
        attackers = all_at_once(stage, secrets, seconds)
        replay = Load(
            stage.services.mqtt_url, [*recorded, *uplinks(int(time.time() * 1e6), 100)], rate=2_000, client_id="replay"
        ).start()
        replay.join()
        for name, attacker in attackers.items():
            done = attacker.join()
            refused[name] += done.refused_logins + done.denied + (done.sent if name == "garbler" else 0)
        load.join()
        time.sleep(1)
        (_, calm, _), (_, harmed, _) = latency(stage, *quiet), latency(stage, *attacked)
        pairs.append((calm, harmed))
        stage.execute("UPDATE device_credentials SET suspended_until = now() WHERE suspended_until IS NOT NULL")
        time.sleep(3)  # he is let in again
    return pairs, refused


def check(stage: Stage, port: int, refused: dict[str, int]) -> None:
    """Nothing that the attackers wanted has come true, and everything is visible."""
    assert refused["thief"] > 0
    assert refused["forger"] > 0
    forged = stage.query(
        "SELECT count(*) FROM occupancy_events e JOIN devices d ON d.id = e.device_id WHERE d.code = %s", VICTIM
    )
    assert forged == [(0,)], "somebody else spoke for it"
    foreign = stage.query(
        "SELECT count(*) FROM occupancy_events e JOIN devices d ON d.id = e.device_id WHERE d.code = %s AND e.space_id <> d.space_id",
        THIEF,
    )
    assert foreign == [(0,)]
    days = stage.query(
        "SELECT count(*) FROM occupancy_events e JOIN devices d ON d.id = e.device_id WHERE d.code LIKE 'L2-%%' OR d.code = 'L1-004'"
    )
    assert days == [(500,)], "a replay changes nothing"
    wait_for(
        lambda: labelled(port, "gateway_broker_refusals_total", kind="malformed") > 0,
        10,
        "malformed packets are not seen",
    )
    assert labelled(port, "gateway_broker_refusals_total", kind="login") > 0
    assert labelled(port, "gateway_broker_refusals_total", kind="denied") > 0
    assert metric(port, "gateway_repeated_frames_total") >= 100
    assert labelled(port, "gateway_dead_letters_total", reason="foreign_space") > 0


@pytest.mark.timeout(120)
def test_attackers_are_refused_and_seen(stage: Stage, free_port: int) -> None:
    port = free_port
    pairs, refused = attack(stage, port, seconds=5, rounds=1)
    check(stage, port, refused)
    ((calm, harmed),) = pairs
    stage.report(f"attacked for 5 s: refused {refused}; others' p99 {calm:.0f} ms quiet, {harmed:.0f} ms attacked")


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_a_hundred_thousand_messages_in_a_minute_hurt_nobody_else(stage: Stage, free_port: int) -> None:
    port = free_port
    pairs, refused = attack(stage, port, seconds=60, rounds=3)
    check(stage, port, refused)
    assert metric(port, "gateway_messages_limited_total") > 0
    letters = stage.query("SELECT count(*) FROM dead_letters WHERE reason = 'flooding'")
    assert 1 <= letters[0][0] <= 12, "one letter a minute"
    suspended = stage.query("SELECT count(*) FROM device_actions WHERE device = %s AND action = 'suspend'", THIEF)
    assert suspended[0][0] >= 3, "he is shut out in each round"
    ratios = sorted(harmed / calm for calm, harmed in pairs)
    stage.report(
        f"attacked for 3 x 60 s: refused {refused}; others' p99 quiet / attacked "
        + ", ".join(f"{calm:.0f} / {harmed:.0f} ms" for calm, harmed in pairs)
        + f"; ratio {ratios[1]:.2f} at the median"
    )
    assert ratios[1] <= 1.2, ratios
