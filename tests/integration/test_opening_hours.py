"""The database takes exactly those opening hours that the readers understand."""

from __future__ import annotations

import json

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parking_core.calendar import parse_opening
from parking_core.errors import InvalidInputError

pytestmark = pytest.mark.services

clock = st.one_of(
    st.sampled_from(["00:00", "08:00", "23:59", "24:00", "24:01", "8:00", "08:60", "25:00", "", "noon", "08:00\n"]),
    st.integers(0, 24),
)
day = st.one_of(st.integers(0, 8), st.booleans(), st.sampled_from(["1", 1.5, None]))
window = st.one_of(
    st.fixed_dictionaries(
        {}, optional={"days": st.one_of(st.lists(day, max_size=3), st.just(5)), "from": clock, "until": clock}
    ),
    st.just("always"),
)
opening = st.one_of(st.lists(window, max_size=3), st.sampled_from(["always", 5, True, {"days": [1]}]))
good = st.lists(
    st.fixed_dictionaries(
        {
            "days": st.lists(st.integers(1, 7), min_size=1, max_size=7),
            "from": st.sampled_from(["00:00", "08:30", "24:00"]),
            "until": st.sampled_from(["00:00", "22:00", "24:00"]),
        }
    ),
    max_size=4,
)


def readable(hours: object) -> bool:
    try:
        parse_opening(hours)
    except InvalidInputError:
        return False
    return True


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(hours=st.one_of(opening, good))
def test_the_database_and_the_readers_agree(database_url: str, hours: object) -> None:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT is_opening(%s::jsonb)", (json.dumps(hours),)).fetchone()
    assert row is not None
    assert row[0] == readable(hours)


def test_unreadable_hours_are_refused_where_they_are_written(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO lots (code, name, kind, lat, lon) VALUES ('L', 'l', 'off_street', 31.5, 120.2)")
        connection.commit()
        with pytest.raises(psycopg.errors.CheckViolation, match="lots_opening_readable"):
            connection.execute("""UPDATE lots SET opening = '"always"'""")
