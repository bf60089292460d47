"""The API's port is taken before anything else, so that a process without one ends with a sentence."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from api.__main__ import listen
from parking_core.errors import SettingsError
from tests.conventions.source import REPOSITORY

ELSEWHERE = {  # nothing answers there: the process must not get so far
    "PARKING_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    "PARKING_REDIS_URL": "redis://127.0.0.1:1/0",
    "PARKING_MQTT_URL": "mqtt://127.0.0.1:1",
}


def test_a_taken_port_ends_the_process_with_a_sentence_and_exit_code_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = subprocess.run(
            [sys.executable, "-m", "api"],
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
            cwd=REPOSITORY,
            env={**os.environ, **ELSEWHERE, "PARKING_HTTP_PORT": str(port)},
        )
    assert result.returncode == 1
    assert f"Port {port} of 127.0.0.1 cannot be had" in result.stderr
    assert "PARKING_HTTP_PORT" in result.stderr


def test_a_port_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="99999"):
        listen("127.0.0.1", 99_999)


def test_it_listens_where_it_is_told() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
