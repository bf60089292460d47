"""The platform's own processes on this machine: which, with what environment, as which user."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from onebox import acquirer, ports
from onebox.home import WORK_FOLDER, ServiceUser, user_name
from onebox.processes import ProcessSpec
from onebox.services import KEEPER_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onebox.home import Home
    from onebox.instance import Plan
    from onebox.services import Services

CODE_ROOT = Path(__file__).resolve().parent.parent  # the folder of the import roots, installed or a checkout
_WORKER_SETTLES_S = 1.0  # it listens nowhere: having lived so long, it did not fail at once
_PASSED_ON = ("PATH", "LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")
_URLS = ("PARKING_DATABASE_URL", "PARKING_REDIS_URL", "PARKING_MQTT_URL")
# The instance says itself what these are, or no process reads them.
_NO_SETTINGS_OF_PROCESSES = {
    *_URLS,
    *("PARKING_HOME", "PARKING_RUNTIME", "PARKING_SERVICE_USER"),
    *("PARKING_HTTP_PORT", "PARKING_INSTANCE", "PARKING_METRICS_PORT"),
}
_CAN_IMPORT = "import api, gateway, parking_core.settings, psycopg, worker"


def application_user(home: Home) -> ServiceUser:
    """The service user when it can read interpreter and code, else the caller."""
    if not home.user.switch or can_run_code(home.user):
        return home.user
    return caller()


def caller() -> ServiceUser:
    """Whoever runs this process."""
    return ServiceUser(user_name(os.geteuid()), os.geteuid(), os.getegid(), switch=False)


def can_run_code(user: ServiceUser) -> bool:
    """Whether this user can import the platform, tried as that user."""
    try:
        answer = subprocess.run(
            [sys.executable, "-P", "-c", _CAN_IMPORT],
            check=False,
            capture_output=True,
            cwd="/",
            env={"PYTHONPATH": str(CODE_ROOT), "PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"},
            **user.popen_options(),
        )
    except PermissionError:
        return False
    return answer.returncode == 0


def gateway_names(count: int) -> list[str]:
    """`gateway`, `gateway-2`, `gateway-3`, ..."""
    return ["gateway", *(f"gateway-{number}" for number in range(2, count + 1))][:count]


def specs(services: Services, plan: Plan, environ: Mapping[str, str]) -> list[ProcessSpec]:
    """How to start gateways, worker and API, in this order. Empty with `services_only`."""
    if plan.services_only:
        return []
    home = services.home
    names = gateway_names(plan.gateways)
    metrics = ports.remembered(home, tuple(f"metrics-{name}" for name in (*names, "worker")))
    user = application_user(home)
    work = home.root / WORK_FOLDER
    work.mkdir(mode=0o755, exist_ok=True)
    base = base_environment(environ, services)
    found = []
    for number, name in enumerate(names, start=1):
        extra = {
            "PARKING_DATABASE_URL": services.database_urls()["gateway"],
            "PARKING_MQTT_URL": services.urls()["mqtt_gateway_url"],
            "PARKING_INSTANCE": str(number),
            "PARKING_METRICS_PORT": str(metrics[f"metrics-{name}"]),
        }
        listens = partial(accepts, metrics[f"metrics-{name}"])
        found.append(replace(_spec(name, "gateway", {**base, **extra}, user, home), ready=listens))
    base |= acquirer.process_environment(home, environ, user)
    base[KEEPER_VARIABLE] = services.urls()["mqtt_keeper_url"]  # not of gateways: what hears devices admits none
    worker = {
        **base,
        "PARKING_DATABASE_URL": services.database_urls()["worker"],
        "PARKING_METRICS_PORT": str(metrics["metrics-worker"]),
    }
    found.append(replace(_spec("worker", "worker", worker, user, home), settle_s=_WORKER_SETTLES_S))
    api = {**base, "PARKING_DATABASE_URL": services.database_urls()["api"], "PARKING_HTTP_PORT": str(plan.http_port)}
    found.append(replace(_spec("api", "api", api, user, home), ready=partial(api_ready, plan.http_port)))
    return found


def accepts(port: int) -> bool:
    """Whether something listens on this loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True


def api_ready(port: int) -> bool:
    """Whether `/readyz` of the API on this loopback port is 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _spec(name: str, module: str, env: Mapping[str, str], user: ServiceUser, home: Home) -> ProcessSpec:
    return ProcessSpec(
        name=name,
        argv=(sys.executable, "-P", "-m", module),
        cwd=home.root / WORK_FOLDER,
        log=home.logs / f"{name}.log",
        user=user,
        env=env,
        umask=0o022,  # they keep no files; compiled modules must stay readable to other users
    )


def base_environment(environ: Mapping[str, str], services: Services) -> dict[str, str]:
    """What every process of the platform gets: PARKING_* and little else of the caller's environment."""
    passed = {
        name: value for name, value in environ.items() if name in _PASSED_ON or name.startswith(("PARKING_", "LC_"))
    }
    passed.pop(KEEPER_VARIABLE, None)
    urls = services.urls()
    return {
        **passed,
        "PYTHONPATH": python_path(environ),
        "PYTHONUNBUFFERED": "1",
        "PARKING_HOME": str(services.home.root),
        "PARKING_REDIS_URL": urls["redis_url"],
        # Only the gateway speaks MQTT: the others get the address without a credential.
        "PARKING_MQTT_URL": without_credential(urls["mqtt_gateway_url"]),
    }


def settings_digest(environ: Mapping[str, str]) -> str:
    """Digest of the PARKING_* that the processes read from the caller; empty when the caller sets none."""
    read = {
        name: value
        for name, value in environ.items()
        if value
        and name.startswith("PARKING_")
        and not name.startswith("PARKING_TEST_")
        and name not in _NO_SETTINGS_OF_PROCESSES
    }
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest() if read else ""


def python_path(environ: Mapping[str, str]) -> str:
    """Import path of a child: this code first, then what the caller's own path names."""
    return os.pathsep.join(path for path in (str(CODE_ROOT), environ.get("PYTHONPATH")) if path)


def without_credential(url: str) -> str:
    """The URL without user and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def metrics_urls(found: list[ProcessSpec]) -> dict[str, str]:
    """Address of each gateway's and the worker's own metrics; the API serves its own beside what it answers."""
    variable = "PARKING_METRICS_PORT"
    serving = [spec for spec in found if spec.name != "api" and variable in spec.env]
    return {spec.name: f"http://127.0.0.1:{spec.env[variable]}/metrics" for spec in serving}
