"""Settings: read once, typed, and every mistake named with what to write instead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parking_core.errors import SettingsError
from parking_core.settings import ClockWindow, Settings

URLS = {"PARKING_DATABASE_URL": "postgresql://d", "PARKING_REDIS_URL": "redis://r", "PARKING_MQTT_URL": "mqtt://m"}
SECOND = 1_000_000
DAY = 86_400 * SECOND


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("-7d..+5m", (-7 * DAY, 300 * SECOND)),
        ("-604800,300", (-7 * DAY, 300 * SECOND)),
        ("-P7D/PT5M", (-7 * DAY, 300 * SECOND)),
        ("[-1.5h : 10s]", (-5400 * SECOND, 10 * SECOND)),
        ("-2 weeks to 1 minute", (-14 * DAY, 60 * SECOND)),
        ("0..0", (0, 0)),
    ],
)
def test_a_clock_window_is_read_in_the_forms_people_write(text: str, window: tuple[int, int]) -> None:
    parsed = ClockWindow.parse(text)
    assert (parsed.earliest_us, parsed.latest_us) == window


@pytest.mark.parametrize("text", ["", "-7d", "5m..-7d", "-7d..+5y", "seven days..5m", "-7d..+5m..1d", ".."])
def test_another_text_is_refused_by_name(text: str) -> None:
    with pytest.raises(SettingsError, match="PARKING_CLOCK_WINDOW"):
        ClockWindow.parse(text)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_any_window_in_seconds_is_itself(back_s: int, ahead_s: int) -> None:
    assert ClockWindow.parse(f"-{back_s}s..+{ahead_s}s") == ClockWindow(-back_s * SECOND, ahead_s * SECOND)


def test_defaults_are_those_of_the_contract() -> None:
    settings = Settings.from_environ(URLS)
    assert (settings.http_port, settings.instance) == (8000, "1")
    assert settings.clock_window == ClockWindow(-7 * DAY, 300 * SECOND)


def test_the_environment_wins_over_what_onebox_provides() -> None:
    settings = Settings.from_environ(
        {"PARKING_MQTT_URL": "mqtt://mine"}, database_url="postgresql://d", redis_url="redis://r", mqtt_url="mqtt://m"
    )
    assert (settings.database_url, settings.mqtt_url) == ("postgresql://d", "mqtt://mine")


@pytest.mark.parametrize("missing", sorted(URLS))
def test_a_missing_url_is_named(missing: str) -> None:
    with pytest.raises(SettingsError, match=missing):
        Settings.from_environ({name: value for name, value in URLS.items() if name != missing})


@pytest.mark.parametrize("text", ["eighty", "-1", "80.5", "0x50"])
def test_a_port_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="PARKING_HTTP_PORT"):
        Settings.from_environ({**URLS, "PARKING_HTTP_PORT": text})


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("PARKING_DATABASE_URL", "nonsense", "postgresql"),
        ("PARKING_DATABASE_URL", "postgresql://u:secret@h:abc/d", "port"),
        ("PARKING_REDIS_URL", "foo", "redis"),
        ("PARKING_REDIS_URL", "redis://:secret@h:99999", "port"),
        ("PARKING_MQTT_URL", "http://u:secret@h", "mqtt"),
        ("PARKING_MQTT_URL", "mqtt://u:secret@h:0", "port"),
        ("PARKING_TIME_ZONE", "Mars/X", "Asia/Shanghai"),
        ("PARKING_TIME_ZONE", "../etc/passwd", "Asia/Shanghai"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_without_its_password(variable: str, value: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says) as raised:
        Settings.from_environ({**URLS, variable: value})
    assert variable in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("url", ["postgres://h/d", "postgresql:///d?host=/run/postgresql"])
def test_what_libpq_takes_is_taken(url: str) -> None:
    assert Settings.from_environ({**URLS, "PARKING_DATABASE_URL": url}).database_url == url


def test_the_clearing_centres_address_is_a_host_and_a_port() -> None:
    assert (Settings.from_environ(URLS).clearing_url, Settings.from_environ(URLS).clearing_package_s) == ("", 300)
    assert Settings.from_environ({**URLS, "PARKING_CLEARING_PACKAGE_S": "10"}).clearing_package_s == 10
    settings = Settings.from_environ({**URLS, "PARKING_CLEARING_URL": "tcp://centre:9010"})
    assert (settings.clearing_url, settings.clearing_sender) == ("tcp://centre:9010", "00000000000000B1")
    for wrong in ("http://centre:9010", "tcp://centre", "tcp://:9010", "tcp://centre:0"):
        with pytest.raises(SettingsError, match="PARKING_CLEARING_URL"):
            Settings.from_environ({**URLS, "PARKING_CLEARING_URL": wrong})
    with pytest.raises(SettingsError, match="16 hexadecimal"):
        Settings.from_environ({**URLS, "PARKING_CLEARING_SENDER": "B1"})
