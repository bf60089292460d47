"""Private TimescaleDB: a cluster of our own on loopback, created once, with least-privileged roles."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from onebox.home import write_atomically
from onebox.processes import ProcessSpec
from parking_core.errors import InstallationError

if TYPE_CHECKING:
    from onebox.home import Home
    from onebox.runtime import Runtime

DATABASE = "parking"
OWNER = "parking"
SUPERUSER = "postgres"
# Each process has its login and a group: migrations grant to the groups, which exist in any deployment.
LOGINS = {"gateway": "parking_gateway", "api": "parking_api", "worker": "parking_worker"}
GROUPS = {"gateway": "gateway_role", "api": "api_role", "worker": "worker_role"}
_STAGING_PROCESSES = ("gateway", "worker")  # batches pass through a temporary table on their way to ON CONFLICT
_LONGEST_SOCKET_FOLDER = 99  # sun_path holds 107 characters, the socket's own name included
_MIB = 1_048_576


@dataclass(frozen=True)
class Postgres:
    """The cluster of one home."""

    home: Home
    runtime: Runtime
    port: int
    passwords: dict[str, str]

    @property
    def folder(self) -> Path:
        """Holds `data`, and `zoneinfo` beside it, where the programs look for time zones."""
        return self.home.root / "postgres"

    @property
    def data(self) -> Path:
        """The cluster."""
        return self.folder / "data"

    def url(self, role: str, password_name: str, database: str = DATABASE) -> str:
        """Connection URL of a role."""
        return f"postgresql://{role}:{self.passwords[password_name]}@127.0.0.1:{self.port}/{database}"

    def owner_url(self) -> str:
        """URL of the owner of the schema, who migrates."""
        return self.url(OWNER, "postgres_owner")

    def process_urls(self) -> dict[str, str]:
        """URL of each process's own login."""
        return {process: self.url(login, f"postgres_{process}") for process, login in LOGINS.items()}

    def prepare(self) -> None:
        """Create the cluster if there is none, and write its configuration for this start.

        Raises:
            InstallationError: initdb failed.
        """
        self._link_zones()
        if not (self.data / "PG_VERSION").is_file():
            self._initialise()
        write_atomically(
            self.data / "postgresql.conf",
            configuration(self.port, self._socket_folder(), self.home.logs, _memory_bytes()),
            owner=self.home.user,
        )
        write_atomically(
            self.data / "pg_hba.conf",
            "host all all 127.0.0.1/32 scram-sha-256\nlocal all all scram-sha-256\n",
            owner=self.home.user,
        )

    def _link_zones(self) -> None:
        link = self.folder / "zoneinfo"
        if not link.is_symlink() or link.readlink() != self.runtime.zones:
            link.unlink(missing_ok=True)
            link.symlink_to(self.runtime.zones)

    def _socket_folder(self) -> Path | None:
        folder = self.home.run / "sockets"
        return folder if len(str(folder)) <= _LONGEST_SOCKET_FOLDER else None

    def _initialise(self) -> None:
        """Run initdb beside the final place and rename: a kill leaves no half cluster."""
        partial = self.folder / "data.partial"
        shutil.rmtree(partial, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            if self.home.user.switch:
                os.chown(scratch, self.home.user.uid, self.home.user.gid)
            password_file = Path(scratch) / "password"
            write_atomically(password_file, self.passwords["postgres_superuser"], owner=self.home.user)
            result = subprocess.run(
                [
                    str(self.runtime.postgres_programs / "initdb"),
                    f"--pgdata={partial}",
                    f"--username={SUPERUSER}",
                    f"--pwfile={password_file}",
                    "--auth-host=scram-sha-256",
                    "--auth-local=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale-provider=builtin",
                    "--builtin-locale=C.UTF-8",
                    "--locale=C",
                    "--data-checksums",
                    "--set=dynamic_shared_memory_type=posix",
                ],
                check=False,
                capture_output=True,
                text=True,
                cwd=scratch,
                env=environment(),
                **self.home.user.popen_options(),
            )
        if result.returncode != 0:
            reason = (result.stderr.strip().splitlines() or ["no message"])[-1]
            raise InstallationError(
                f"initdb could not create {self.data}: {reason}; check free disk space and `parking doctor`."
            )
        partial.rename(self.data)

    def process(self) -> ProcessSpec:
        """How to run it. SIGINT is its fast shutdown: it does not wait for clients to leave."""
        return ProcessSpec(
            name="postgres",
            argv=(str(self.runtime.postgres_programs / "postgres"), "-D", str(self.data)),
            cwd=self.data,  # its time zone folder is given relative to this
            log=self.home.logs / "postgres.log",
            user=self.home.user,
            env=environment(),
            ready=self.ready,
            stop_signal=signal.SIGINT,
        )

    def ready(self) -> bool:
        """Whether it answers a query."""
        try:
            with psycopg.connect(
                self.url(SUPERUSER, "postgres_superuser", "postgres"), connect_timeout=2
            ) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def create_database(self) -> None:
        """Create roles, database and extension where they are missing. Needs a running server; repeatable."""
        with psycopg.connect(self.url(SUPERUSER, "postgres_superuser", "postgres"), autocommit=True) as connection:
            roles = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
            self._create_login(connection, roles, OWNER, "postgres_owner")
            for process, login in LOGINS.items():
                group = GROUPS[process]
                if group not in roles:
                    connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(group)))
                self._create_login(connection, roles, login, f"postgres_{process}")
                connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), sql.Identifier(login)))
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone() is None:
                connection.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(DATABASE), sql.Identifier(OWNER))
                )
        with psycopg.connect(self.url(SUPERUSER, "postgres_superuser"), autocommit=True) as connection:
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(DATABASE)))
            for process, login in LOGINS.items():
                rights = "CONNECT, TEMPORARY" if process in _STAGING_PROCESSES else "CONNECT"
                connection.execute(
                    sql.SQL("GRANT {} ON DATABASE {} TO {}").format(
                        sql.SQL(rights), sql.Identifier(DATABASE), sql.Identifier(login)
                    )
                )
            connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")

    def _create_login(self, connection: psycopg.Connection, roles: set[str], role: str, password_name: str) -> None:
        if role in roles:
            return
        # Hashed here, so that the password itself never reaches the server or its log.
        verifier = connection.pgconn.encrypt_password(
            self.passwords[password_name].encode(), role.encode(), b"scram-sha-256"
        ).decode()
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier))
        )


def environment() -> dict[str, str]:
    """Environment of the programs: nothing of the caller's, so that no PG* variable interferes."""
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def configuration(port: int, socket_folder: Path | None, logs: Path, memory_bytes: int) -> str:
    """Text of postgresql.conf for a host with so much memory."""
    shared_mib = max(128, min(1_024, memory_bytes // _MIB // 4))
    cache_mib = max(256, memory_bytes // _MIB // 2)
    settings: dict[str, str] = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": str(socket_folder or ""),
        "max_connections": "60",
        "password_encryption": "scram-sha-256",
        "shared_preload_libraries": "timescaledb",
        "timescaledb.telemetry_level": "off",
        "timescaledb.max_background_workers": "2",
        "max_worker_processes": "8",
        "shared_buffers": f"{shared_mib}MB",
        "effective_cache_size": f"{cache_mib}MB",
        "work_mem": "16MB",
        "maintenance_work_mem": "128MB",
        "jit": "off",  # its compiler is not installed
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",  # PUBACK after COMMIT means on disk
        "wal_compression": "lz4",
        "min_wal_size": "1GB",
        "max_wal_size": "4GB",
        "checkpoint_timeout": "15min",
        "autovacuum": "on",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "datestyle": "iso, ymd",
        "lc_messages": "C",
        "default_text_search_config": "pg_catalog.simple",
        "restart_after_crash": "on",
        "logging_collector": "on",
        "log_directory": str(logs),
        "log_filename": "postgres-%a.log",  # a week of days, each overwritten by its next
        "log_truncate_on_rotation": "on",
        "log_rotation_age": "1d",
        "log_rotation_size": "0",
        "log_file_mode": "0600",
        "log_line_prefix": "%m [%p] %q%u@%d ",
        "log_checkpoints": "off",
    }
    lines = ["# Written by onebox at every start; changes here do not last."]
    lines += [f"{name} = {_quoted(value)}" for name, value in settings.items()]
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    doubled = value.replace("\\", "\\\\").replace("'", "''")
    return f"'{doubled}'"


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
