"""The URLs a command works with: from the environment, else from the running instance of PARKING_HOME."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from onebox.home import Home
from onebox.instance import Instance
from parking_core.errors import InvalidInputError, ServiceUnavailableError
from parking_core.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from psycopg import Connection

_VARIABLES = ("PARKING_DATABASE_URL", "PARKING_REDIS_URL", "PARKING_MQTT_URL")


def settings(environ: Mapping[str, str] | None = None, *, process: str = "owner") -> Settings:
    """Settings for a command.

    Args:
        environ: environment to read, by default this process's.
        process: whose credentials to use where the services are private: `gateway`, `api` or `worker`;
            `owner` is the owner of the schema, and on the broker may publish for any device.

    Raises:
        SettingsError: a value cannot be read.
        ServiceUnavailableError: a URL is not set and nothing runs in PARKING_HOME.
    """
    return Settings.from_environ(process_environ(os.environ if environ is None else environ, process))


def process_environ(environ: Mapping[str, str], process: str = "owner") -> dict[str, str]:
    """The environment with all three URLs in it. Arguments and errors as in `settings`."""
    missing = [name for name in _VARIABLES if not environ.get(name)]
    if not missing:
        return dict(environ)
    keeper = "PARKING_MQTT_KEEPER_URL"
    home = Home.from_environ(environ)
    instance = Instance.load(home)
    if instance is None or not instance.supervisor.alive():
        raise ServiceUnavailableError(
            f"{missing[0]} is not set and nothing runs in {home.root}; run `parking up` or set {', '.join(missing)}."
        )
    provided = {
        "PARKING_DATABASE_URL": instance.database_urls.get(process, instance.urls["database_url"]),
        "PARKING_REDIS_URL": instance.urls["redis_url"],
        "PARKING_MQTT_URL": instance.urls["mqtt_gateway_url" if process == "gateway" else "mqtt_url"],
    }
    found = {**environ, **{name: provided[name] for name in missing}}
    if "PARKING_MQTT_URL" in missing and not environ.get(keeper):
        found[keeper] = instance.urls.get("mqtt_keeper_url", "")
    return found


@contextmanager
def database(url: str | None = None) -> Iterator[Connection[Any]]:
    """A connection for the flows of a command (autocommit: a flow opens its own transaction); by default the owner's.

    Raises:
        ServiceUnavailableError: the database cannot be reached.
        InvalidInputError: it has no schema yet.
    """
    import psycopg  # noqa: PLC0415  # commands without a database start faster

    try:
        with psycopg.connect(url or settings().database_url, autocommit=True) as connection:
            yield connection
    except psycopg.OperationalError as error:
        raise ServiceUnavailableError(
            f"The database cannot be asked ({error}); is it running? Try `parking status`."
        ) from error
    except psycopg.errors.UndefinedTable as error:
        raise InvalidInputError("The database lacks tables of this version; run `parking migrate` first.") from error
