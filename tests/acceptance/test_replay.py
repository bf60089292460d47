"""Recorded sessions through the whole path: rows, final state and hourly occupancy are what the file alone says."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from simulators.replay import Disturbance, clock_skew_us
from tests.acceptance.processes import until
from tests.conftest import REPOSITORY
from tests.replay_oracle import RecordedFile, expected_rows, final_state, hourly_occupancy

if TYPE_CHECKING:
    from tests.acceptance.stage import Stage

pytestmark = [pytest.mark.services, pytest.mark.acceptance]

LOT, SEED = "replayed", 1
MINUTES_OFF = 1e-6  # sums of a few thousand doubles
DISTURBED = Disturbance(duplicates=0.05, reorder_s=600, skew_s=60)
BURGDORF = "replay/sbb_burgdorf/burgdorf_merged.csv"


def recorded_sessions() -> RecordedFile:
    """The recorded file, which is not part of this repository."""
    folder = Path(os.environ.get("PARKING_SHARED_DATA") or REPOSITORY.parent / "shared" / "data")
    path = folder / BURGDORF
    if not path.is_file():
        pytest.skip(f"{path} is not there; set PARKING_SHARED_DATA to the folder that holds {BURGDORF}")
    return RecordedFile(path, "arrival_unix_seconds", "departure_unix_seconds", "parking_space_id", ";")


def generated_sessions(folder: Path) -> RecordedFile:
    """Twelve bays over ten days: stays without length, arrivals at the instant of a departure, overlapping stays."""
    rng, lines = random.Random(11), ["arrival,departure,bay"]
    for bay in range(1, 13):
        clock = 1_767_225_600 + rng.randrange(3_600)
        while clock < 1_767_225_600 + 10 * 86_400:
            stay = rng.choice([0, 1, 59, rng.randrange(20_000)])
            lines.append(f"{clock},{clock + stay},B{bay}")
            clock += (
                stay + rng.choice([0, 0, 30, rng.randrange(7_200)]) - (10 if rng.random() < 0.02 and stay > 60 else 0)
            )
            clock += 1 if stay == 0 else 0
    path = folder / "sessions.csv"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return RecordedFile(path, "arrival", "departure", "bay")


def replay(stage: Stage, file: RecordedFile, disturbance: Disturbance) -> str:
    """Runs the command as a person would; gives what it says."""
    environ = {
        "PATH": os.environ["PATH"],
        "PARKING_DATABASE_URL": stage.database_url,
        "PARKING_REDIS_URL": stage.services.redis_url,
        "PARKING_MQTT_URL": stage.services.mqtt_url,
    }
    columns = f"space={file.space},arrival={file.arrival},departure={file.departure}"
    command = [sys.executable, "-m", "onebox", "replay", str(file.path), "--columns", columns]
    command += ["--delimiter", file.delimiter, "--time-format", "epoch", "--lot", LOT, "--register"]
    command += ["--duplicates", str(disturbance.duplicates), "--reorder", str(disturbance.reorder_s)]
    command += ["--skew", str(disturbance.skew_s), "--seed", str(SEED)]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environ, capture_output=True, text=True, check=False, timeout=250
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def stored_rows(stage: Stage) -> list[tuple[str, int, bool]]:
    statement = (
        "SELECT s.code, (extract(epoch FROM e.occurred_at) * 1000000)::bigint, e.occupied"
        " FROM occupancy_events e JOIN spaces s ON s.id = e.space_id JOIN lots l ON l.id = s.lot_id WHERE l.code = %s"
    )
    return sorted((code, us, occupied) for code, us, occupied in stage.query(statement, LOT))


def stored_states(stage: Stage) -> dict[str, tuple[int, bool]]:
    codes = dict(stage.query("SELECT s.id, s.code FROM spaces s JOIN lots l ON l.id = s.lot_id WHERE l.code = %s", LOT))
    return {
        codes[int(row["space_id"])]: (int(row["occurred_us"]), bool(row["occupied"]))
        for row in stage.image().spaces
        if int(row["space_id"]) in codes
    }


def stored_hours(stage: Stage) -> dict[int, float]:
    statement = (
        "SELECT (extract(epoch FROM bucket) * 1000000)::bigint, occupied_min FROM lot_rollups_1h r"
        " JOIN lots l ON l.id = r.lot_id WHERE l.code = %s AND occupied_min > 0"
    )
    return dict(stage.query(statement, LOT))


def wrong_hours(stage: Stage, expected: dict[int, float]) -> list[int]:
    hours = stored_hours(stage)
    return [
        hour
        for hour in sorted(hours.keys() | expected.keys())
        if abs(hours.get(hour, 0.0) - expected.get(hour, 0.0)) > MINUTES_OFF
    ]


def compare_with_the_file(stage: Stage, file: RecordedFile, disturbance: Disturbance) -> None:
    stage.worker().start()
    stage.gateway().start()
    begins = time.monotonic()
    said = replay(stage, file, disturbance)
    skews = {space: clock_skew_us(f"{LOT}-{space}", disturbance, SEED) for space, _, _ in file.stays()}
    rows = expected_rows(file, skews)
    stage.await_rows(len(rows))
    stored_s = time.monotonic() - begins
    assert stored_rows(stage) == rows
    stage.settle()
    assert stored_states(stage) == final_state(file, skews)
    hours = hourly_occupancy(file, skew_us=skews)
    until(lambda: not wrong_hours(stage, hours), 200, "hourly occupancy never is what the file says")
    stage.report(
        f"replay: {said} Rows {len(rows)} of {len(rows)} after {stored_s:.1f} s, {len(final_state(file))} bays and "
        f"{len(hours)} hours of occupancy equal the file's after {time.monotonic() - begins:.1f} s ({disturbance})"
    )
    assert stage.count("dead_letters") == 0


@pytest.mark.parametrize("disturbance", [Disturbance(), DISTURBED], ids=["in-order", "disturbed"])
def test_generated_sessions_come_out_as_they_went_in(stage: Stage, tmp_path: Path, disturbance: Disturbance) -> None:
    compare_with_the_file(stage, generated_sessions(tmp_path), disturbance)


def test_a_second_replay_changes_nothing(stage: Stage, tmp_path: Path) -> None:
    file = generated_sessions(tmp_path)
    compare_with_the_file(stage, file, Disturbance())
    before = stage.count(), stored_states(stage), stored_hours(stage)
    replay(stage, file, Disturbance())
    until(lambda: stage.count("dirty_buckets") == 0, 30, "dirty buckets stay")
    assert (stage.count(), stored_states(stage), stored_hours(stage)) == before


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "disturbance",
    [pytest.param(Disturbance(), id="in-order"), pytest.param(DISTURBED, id="disturbed", marks=pytest.mark.heavy)],
)
def test_recorded_sessions_come_out_as_they_went_in(stage: Stage, disturbance: Disturbance) -> None:
    compare_with_the_file(stage, recorded_sessions(), disturbance)
