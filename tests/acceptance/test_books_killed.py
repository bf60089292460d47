"""kill -9 of gateway, worker and database while a few days of lane records come in: the books are those of calm days."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

import psycopg
import pytest

from parking_core.commands import CommandKind, CommandOrder, CommandState
from parking_core.districts import District
from parking_core.flows import follow_lanes
from parking_core.flows.follow_lanes import give_up_stays
from parking_core.flows.grant_permits import grant_permit
from parking_core.flows.publish_tariff import Binding, publish_tariff
from parking_core.flows.reconcile import reconcile_hours
from parking_core.flows.seed_district import seed_district
from parking_core.flows.seed_tariffs import seed_tariffs
from parking_core.flows.settle_transactions import flag_missing_tacs
from parking_core.flows.watch_lane_gaps import watch_lane_gaps
from parking_core.flows.watch_references import watch_references
from parking_core.store import commands
from parking_core.store.permits import ListedPermit
from simulators import lane_controller
from simulators.lane_vehicles import Pays, new_car
from simulators.month.visits import Channel
from tests.acceptance.lane_ledger import ledger_of, unlike, worthless
from tests.acceptance.load import Load
from tests.acceptance.month import ZONE, draw_month, expect, month_to_play, pilot_lots
from tests.acceptance.processes import until
from tests.acceptance.test_commands import Desk
from tests.acceptance.test_lanes import LOTS, all_leave, followed, play
from tests.acceptance.test_lanes_killed import kill_database
from tests.lane_builders import lane_district
from tests.tariff_rows import hourly

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from simulators.lanes import LaneTraffic
    from simulators.month.records import Month
    from tests.acceptance.lane_ledger import Ledger
    from tests.acceptance.month import Expected
    from tests.acceptance.stage import Stage

pytestmark = [pytest.mark.services, pytest.mark.acceptance, pytest.mark.timeout(600)]

_PATIENCE_S = 180.0  # for what has to come sooner or later
_WAITING = """
SELECT (SELECT count(*) FROM lane_events WHERE processed_at IS NULL)
     + (SELECT count(*) FROM lane_repeats WHERE processed_at IS NULL)
"""
_FOLLOWED = "SELECT count(*) FROM lane_events WHERE processed_at IS NOT NULL"


class Victim(StrEnum):
    """What is killed."""

    GATEWAY = "gateway"
    WORKER = "worker"
    DATABASE = "database"


@dataclass(frozen=True)
class Days:
    """Some days of the pilot lots, with all faults of a month."""

    begins_at: datetime
    ends_at: datetime
    seeded_at: datetime
    month: Month
    expected: Expected


def draw_days(visits: int, days: int) -> Days:
    now = datetime.now(UTC)
    begins_at, _ = month_to_play(now)
    ends_at = begins_at + timedelta(days=days)
    month = draw_month(11, visits, begins_at, ends_at)
    return Days(begins_at, ends_at, now, month, expect(month))


def prepare(stage: Stage, days: Days) -> None:
    """Lots, tariffs and permits; gateway and worker run."""
    lots = pilot_lots()
    seed_district(stage.database_url, lots)
    permits = {(visit.lot, visit.vehicle.plate) for visit in days.month.visits if visit.channel is Channel.PERMIT}
    with psycopg.connect(stage.database_url, autocommit=True) as db:
        seed_tariffs(db, lots, days.seeded_at)
        for lot, plate in sorted(permits):
            permit = ListedPermit(f"{lot}-{plate}", lot, "monthly", days.begins_at, days.ends_at, 1, (plate,))
            grant_permit(db, permit)
    stage.gateway().start()
    stage.worker().start()


def number(stage: Stage, query: str) -> int:
    """A count; -1 while the database is not there."""
    try:
        return int(stage.query(query)[0][0])
    except psycopg.OperationalError:
        return -1


def settle(stage: Stage, days: Days) -> Ledger:
    """Waits until everything is followed, then does what the worker does by the clock; gives what stands in the end."""
    stage.await_rows(days.expected.records, "lane_events", _PATIENCE_S)
    until(lambda: number(stage, _WAITING) == 0, _PATIENCE_S, "records wait for ever")
    waiting = "SELECT count(*) FROM commands WHERE kind = 'fee_answer' AND state IN ('queued', 'sent')"
    until(lambda: number(stage, waiting) == 0, _PATIENCE_S, "answers that came too late never end")
    now = datetime.now(UTC)
    with psycopg.connect(stage.database_url, autocommit=True) as db:
        watch_lane_gaps(db, now)
        watch_lane_gaps(db, now + timedelta(minutes=5))
        flag_missing_tacs(db, now, zone=ZONE)
        watch_references(db, now + timedelta(hours=1), ZONE)
        give_up_stays(db, follow_lanes.Desk(ZONE), now)
        reconcile_hours(db, days.begins_at, days.ends_at, ZONE, now)
    return ledger_of(stage)


def play_calmly(stage: Stage, days: Days, rate: float) -> Ledger:
    prepare(stage, days)
    Load(stage.services.mqtt_url, days.month.messages, rate).start().join()
    return settle(stage, days)


def strike(stage: Stage, victim: Victim, rng: random.Random) -> None:
    """SIGKILL in whatever it is doing, a moment of silence, and it starts again; nobody waits until it serves."""
    time.sleep(rng.uniform(0.0, 0.05))
    if victim is Victim.DATABASE:
        kill_database(stage)
        return
    process = stage.gateway() if victim is Victim.GATEWAY else stage.worker()
    process.kill()
    time.sleep(rng.uniform(0.0, 0.5))
    process.start(wait=False)


def await_progress(stage: Stage, query: str, wanted: int) -> None:
    """Waits until a count is reached by processes that live: one that ends by itself will never reach it."""

    def reached() -> bool:
        ended = [process.log for process in stage.processes.values() if not process.is_running]
        assert not ended, f"ended by itself, see {ended}"
        return number(stage, query) >= wanted

    until(reached, _PATIENCE_S, f"never {wanted}: {query}")


def await_taken(load: Load, messages: int) -> None:
    """Waits until the broker has taken so many of a load."""
    until(lambda: load.acknowledged >= messages, _PATIENCE_S, f"the broker never takes {messages}")


def play_killed(stage: Stage, days: Days, victims: Sequence[Victim], rate: float) -> tuple[Ledger, int]:
    """The same messages, a kill in the middle of each part of them; gives also how many kills came while they were sent.

    Each victim has worked again since it was last killed: progress is waited for, not time.
    """
    prepare(stage, days)
    rng, met, messages = random.Random(17), 0, days.month.messages
    borders = [len(messages) * part // (len(victims) + 1) for part in range(len(victims) + 2)]
    parts = [messages[first:last] for first, last in itertools.pairwise(borders)]
    for victim, part in zip(victims, parts, strict=False):
        first, rest = part[: len(part) // 3], part[len(part) // 3 :]
        query = _FOLLOWED if victim is Victim.WORKER else "SELECT count(*) FROM lane_events"
        wanted = number(stage, query) + rng.randrange(1, len(first) // 2)
        Load(stage.services.mqtt_url, first, rate).start().join()
        await_progress(stage, query, wanted)
        load = Load(stage.services.mqtt_url, rest, rate).start()
        await_taken(load, rng.randrange(1, len(rest) // 3))
        met += not load.is_over
        strike(stage, victim, rng)
        load.join()
    Load(stage.services.mqtt_url, parts[-1], rate).start().join()
    ledger = settle(stage, days)
    assert all(process.is_running for process in stage.processes.values()), "a process ended without its database"
    return ledger, met


def check_truth(ledger: Ledger, days: Days) -> None:
    """The ledger has every message once, the books what the independent computation says: equal alone could be wrong."""
    expected = days.expected
    sent = {(f"{one.lane}#{one.record_no}", hashlib.sha256(one.payload).hexdigest()) for one in days.month.messages}
    entered = Counter((row[0], row[3]) for row in ledger["records"].elements())
    entered += Counter((row[0], row[1]) for row in ledger["repeats"].elements())
    assert entered == Counter(sent)
    assert (ledger["records"].total(), ledger["repeats"].total()) == (expected.records, expected.repeats)
    charged, taken = Counter[str](), Counter[str]()
    for visit, fen, *_ in ledger["charges"].elements():
        charged[visit.split(" ")[0]] += fen
    for _, _, _, _, visit, fen, *_ in ledger["transactions"].elements():
        taken[visit.split(" ")[0]] += fen
    assert (+charged, taken) == (+expected.charged, +expected.etc)
    plates = {visit.number: visit.vehicle.plate for visit in days.month.visits}
    named = expected.findings + Counter(("arrears", plates[visit]) for visit in expected.to_pay)  # nobody pays here
    assert Counter((name, subject) for name, subject, _ in ledger["differences"].elements()) == named
    assert worthless(ledger)
    assert not ledger["dead letters"]
    assert not ledger["set aside"]


def compare_days(stages: Callable[[str], AbstractContextManager[Stage]], days: Days, kills: int, rate: float) -> None:
    with stages("calm") as stage:
        calm = play_calmly(stage, days, rate=5_000)
    victims = list(Victim) * kills
    random.Random(kills).shuffle(victims)
    with stages("killed") as stage:
        begins = time.monotonic()
        killed, met = play_killed(stage, days, victims, rate)
        took_s = time.monotonic() - begins
    assert unlike(calm, killed) == {}
    check_truth(killed, days)
    assert met > len(victims) // 2, "most kills came when nothing was sent, and prove nothing"
    stage.report(
        f"gateway, worker and database killed {kills} times each under {len(days.month.messages)} lane messages of "
        f"{len(days.month.visits)} visits, {met} of {len(victims)} while they were sent: "
        + ", ".join(f"{rows.total()} {part}" for part, rows in killed.items() if rows)
        + f", all as on calm days; {took_s:.0f} s"
    )


def test_the_books_are_the_same_when_gateway_worker_and_database_are_killed_three_times_each(
    stages: Callable[[str], AbstractContextManager[Stage]],
) -> None:
    compare_days(stages, draw_days(visits=1_500, days=3), kills=3, rate=400)


@pytest.mark.heavy
@pytest.mark.timeout(1_800)
def test_the_books_are_the_same_when_gateway_worker_and_database_are_killed_ten_times_each(
    stages: Callable[[str], AbstractContextManager[Stage]],
) -> None:
    compare_days(stages, draw_days(visits=10_000, days=7), kills=10, rate=800)


def test_records_whose_notification_nobody_heard_are_followed_within_seconds(stage: Stage) -> None:
    days = draw_days(visits=300, days=1)
    prepare(stage, days)
    worker = stage.worker()
    assert worker.child is not None
    worker.child.send_signal(signal.SIGSTOP)  # it is told, does nothing, and takes what it was told with it
    Load(stage.services.mqtt_url, days.month.messages, rate=5_000).start().join()
    stage.await_rows(days.expected.records, "lane_events", _PATIENCE_S)
    assert number(stage, _FOLLOWED) < days.expected.records
    worker.kill()
    worker.start()
    behind_s = until(lambda: number(stage, _WAITING) == 0, _PATIENCE_S, "records of a dead worker wait for ever")
    before = settle(stage, days)
    booked = "SELECT (SELECT count(*) FROM journal), (SELECT count(*) FROM charges), (SELECT count(*) FROM visits)"
    entries = stage.query(booked)
    # As if the newest records had been committed with a notification that was lost on its way to a worker that lives.
    stage.execute(
        "UPDATE lane_events SET processed_at = NULL WHERE id IN (SELECT id FROM lane_events ORDER BY id DESC LIMIT 200)"
    )
    silent_s = until(lambda: number(stage, _WAITING) == 0, _PATIENCE_S, "records without a notification wait for ever")
    assert unlike(before, ledger_of(stage)) == {}, "following records again has changed something"
    assert stage.query(booked) == entries
    check_truth(before, days)
    stage.report(
        f"lost notifications: {len(days.month.messages)} lane messages followed {behind_s:.2f} s after the next worker led, "
        f"200 without a notification {silent_s:.2f} s later; followed again they change nothing"
    )


def test_commands_queued_while_the_gateway_is_dead_come_in_time_and_are_executed_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_controller, "FEE_PATIENCE_S", _PATIENCE_S)  # the test is about once, not about soon
    seed_district(stage.database_url, lane_district())
    (device,) = stage.query("SELECT id FROM devices WHERE code = 'L1-X1'")[0]
    gateway = stage.gateway()
    gateway.start()
    rounds, ordered = 4, []
    with contextlib.closing(Desk(stage)) as desk, psycopg.connect(stage.database_url, autocommit=True) as db:
        lane = desk.start_lane("L1-X1")
        for turn in range(rounds):
            sight = {"plate": {"text": "苏B12345", "color": "blue"}}
            asked = asyncio.run_coroutine_threadsafe(lane.ask_fee(datetime.now(UTC), **sight), desk._loop)
            stage.await_rows(turn + 1, "lane_events", _PATIENCE_S)
            gateway.kill()
            now = datetime.now(UTC)
            deadline = now + timedelta(seconds=_PATIENCE_S)
            answer = {"record_no": turn + 1, "amount_fen": 500 + turn}
            orders = [
                CommandOrder(device, CommandKind.FEE_ANSWER, answer, f"test:{turn}", deadline),
                CommandOrder(device, CommandKind.OPEN_GATE, {"reason": "paid"}, f"test:{turn}", deadline),
            ]
            with db.transaction():
                queued = commands.queue(db, orders, now)
            assert {desk.row(command).state for command in queued} == {CommandState.QUEUED}
            with db.transaction():
                assert commands.queue(db, orders, now) == [], "the same cause commands twice"
            gateway.start(wait=False)
            assert asked.result(_PATIENCE_S) == answer
            ordered += queued
        rows = [desk.await_state(command, CommandState.ACKNOWLEDGED, _PATIENCE_S) for command in ordered]
        assert Counter(lane.executed) == dict.fromkeys(map(str, ordered), 1)
        assert lane.gate_openings == rounds
    stage.report(
        f"{len(rows)} commands queued while the gateway was dead: all acknowledged and executed once, "
        f"{sum(row.tries for row in rows)} deliveries"
    )


def test_lanes_that_ask_and_charge_while_everything_is_killed_take_every_fee_once(stage: Stage, tmp_path: Path) -> None:
    seed_district(stage.database_url, District(name="lanes", lots=LOTS))
    since = datetime.now(UTC) - timedelta(days=30)
    with psycopg.connect(stage.database_url, autocommit=True) as db:
        publish_tariff(db, hourly(), Binding(since, [lot.code for lot in LOTS]), datetime.now(UTC))
    stage.gateway().start()
    stage.worker().start()
    rng = random.Random(23)

    async def scene(lanes: LaneTraffic) -> None:
        told = lambda: all(lane.memory.tariffs for lot in lanes.lots for lane in lot.exits)  # noqa: E731  # a condition, used once
        await asyncio.to_thread(until, told, _PATIENCE_S, "the lanes were not told their tariff")
        for victim in Victim:
            for lot, _ in itertools.product(lanes.lots, range(4)):
                lanes.arrive(lot, new_car(lanes._rng, Pays.ETC), datetime.now(UTC) - timedelta(hours=rng.randrange(5)))
            leaving = asyncio.create_task(all_leave(lanes))
            await asyncio.sleep(rng.uniform(0.0, 0.2))
            await asyncio.to_thread(strike, stage, victim, rng)
            await leaving

    lanes = play(stage, tmp_path, scene)
    left = "SELECT count(*) FROM lane_events WHERE event = 'exit'"  # what the broker has, the gateway may not have yet
    until(lambda: number(stage, left) == lanes.counts.exits, _PATIENCE_S, "exits are missing in the ledger")
    until(lambda: followed(stage), _PATIENCE_S, "the worker does not follow")
    waiting = "SELECT count(*) FROM commands WHERE kind = 'fee_answer' AND state IN ('queued', 'sent')"
    until(lambda: number(stage, waiting) == 0, _PATIENCE_S, "answers never end")
    counts, records = lanes.counts, sum(lane.memory.last_record_no for lot in lanes.lots for lane in lot.exits)
    assert stage.query("SELECT state, count(*) FROM visits WHERE state <> 'void' GROUP BY 1") == [
        ("closed", counts.exits)
    ]
    booked, taken, owed, questions = stage.query(
        """SELECT (SELECT -sum(p.amount_fen) FROM postings p JOIN accounts a ON a.id = p.account_id WHERE a.kind = 'revenue'),
                  (SELECT sum(amount_fen) FROM etc_transactions),
                  (SELECT sum(p.amount_fen) FROM postings p JOIN accounts a ON a.id = p.account_id WHERE a.kind = 'receivable'),
                  (SELECT count(*) FROM lane_events WHERE event = 'fee_request')"""
    )[0]
    assert booked == taken + owed
    assert questions == counts.exits
    assert stage.query("SELECT count(*), count(DISTINCT cause) FROM commands WHERE kind = 'fee_answer'") == [
        (questions,) * 2
    ]
    assert stage.query("SELECT count(*) FROM differences WHERE name = 'amount_differs' AND state = 'open'") == [(0,)]
    assert stage.count("dead_letters") == 0
    executed = [command for lot in lanes.lots for lane in lot.exits for command in lane.executed]
    assert len(executed) == len(set(executed))
    stage.report(
        f"{counts.exits} cars left while gateway, worker and database were killed: {counts.answered} fees answered, "
        f"{counts.offline} computed by the lane, {records} records of the exits; {booked} fen charged, {taken} taken, {owed} owed"
    )
