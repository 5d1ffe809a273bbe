"""A PostgreSQL server of the tests' own, in a temporary folder, from the programs that the system has."""

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import pytest

USER, PASSWORD = "osteon", "open/sesame"  # with a character that has to be escaped in an address
DATABASE = "mlflow"


@dataclass(frozen=True)
class Postgres:
    """A running server; one database, in which a test can come back to what was there before."""

    port: int

    @property
    def address(self) -> str:
        """As MLflow takes it. SQLAlchemy 2.1 takes psycopg 3 where no driver is named."""
        return f"postgresql+psycopg2://{USER}:{quote(PASSWORD, '')}@127.0.0.1:{self.port}/{DATABASE}"

    def connect(self, database: str = DATABASE) -> Any:
        import psycopg2

        result = psycopg2.connect(
            host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, dbname=database, connect_timeout=10
        )
        result.autocommit = True
        return result

    def ask(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements in one transaction; the rows of the last."""
        connection = self.connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute(";".join(statements))
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def keep(self, name: str) -> None:
        """Keep what all tables hold now."""
        self.ask(
            f"DROP SCHEMA IF EXISTS {name} CASCADE",
            f"CREATE SCHEMA {name}",
            *(f"CREATE TABLE {name}.{table} AS TABLE public.{table}" for table in self._columns()),
        )

    def restore(self, name: str) -> None:
        """Bring it back. The server of MLflow goes on meanwhile, so it is the rows that change and not the database."""
        columns = self._columns()
        self.ask(
            "SET LOCAL session_replication_role = replica",  # in whatever order: no foreign key is looked at
            *(f"DELETE FROM public.{table}" for table in columns),  # noqa: S608
            *(f"INSERT INTO public.{table} ({of}) SELECT {of} FROM {name}.{table}" for table, of in columns.items()),  # noqa: S608
        )

    def _columns(self) -> dict[str, str]:
        """Of each table, those that are not computed."""
        rows = self.ask(
            "SELECT table_name, string_agg(quote_ident(column_name), ', ') FROM information_schema.columns "
            "WHERE table_schema = 'public' AND is_generated = 'NEVER' GROUP BY table_name"
        )
        return dict(rows)


def programs() -> Path:
    """The folder with PostgreSQL's programs; Debian keeps it off the PATH."""
    location = shutil.which("initdb") or next(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), None)
    if location is None:
        pytest.skip("no PostgreSQL here (initdb): apt-get install postgresql")
    return Path(location).resolve().parent


def not_root() -> dict[str, Any]:
    """For subprocess: as whom PostgreSQL is started, which refuses to run as root."""
    if os.getuid() != 0:
        return {}
    known = {item.pw_name: item for item in pwd.getpwall()}
    user = known.get("postgres") or known.get("nobody")
    if user is None:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres or nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@contextmanager
def postgres_server(port: int) -> Iterator[Postgres]:
    """An empty one on a port."""
    folder, owner = programs(), not_root()
    # Not in pytest's own folder, which nobody else may enter.
    with TemporaryDirectory(prefix="osteon-postgres-", ignore_cleanup_errors=True) as temporary:
        place = Path(temporary)
        (place / "password").write_text(PASSWORD, encoding="utf-8")
        for path in (place, place / "password") if owner else ():
            os.chown(path, owner["user"], owner["group"])
        words = ["-D", "data", "-U", USER, "--pwfile", "password", "-A", "scram-sha-256", "--no-sync"]
        made = subprocess.run(
            [folder / "initdb", *words, "-E", "UTF8", "--locale", "C"],
            cwd=place,
            capture_output=True,
            text=True,
            check=False,
            **owner,
        )
        if "Operation not permitted" in made.stderr:
            pytest.skip(f"PostgreSQL cannot be started here: {made.stderr.strip()}")
        assert made.returncode == 0, made.stderr
        words = ["-D", "data", "-p", str(port), "-k", temporary, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        with (place / "log").open("wb") as log:
            process = subprocess.Popen(
                [folder / "postgres", *words], cwd=place, stdout=log, stderr=subprocess.STDOUT, **owner
            )
        try:
            server = Postgres(port)
            _create_database(server, process, place / "log")
            yield server
        finally:
            process.send_signal(signal.SIGQUIT)  # at once: nothing of it is kept
            process.wait(30)


def _create_database(server: Postgres, process: "subprocess.Popen[bytes]", log: Path) -> None:
    import psycopg2

    for _ in range(600):
        try:
            connection = server.connect("postgres")
        except psycopg2.OperationalError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
            continue
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {DATABASE}")
        connection.close()
        return
    raise AssertionError(log.read_text())
