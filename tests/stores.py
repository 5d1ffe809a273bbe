"""Where MLflow keeps things, for the tests: a sqlite file, or a server with PostgreSQL and S3 behind it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import requests

from tests.postgres import Postgres, postgres_server

BUCKET = "hospital-models"
KEYS = {"AWS_ACCESS_KEY_ID": "server", "AWS_SECRET_ACCESS_KEY": "sesame"}


def free_port() -> int:
    with socket.socket() as result:
        result.bind(("127.0.0.1", 0))
        return int(result.getsockname()[1])


@dataclass
class Served:
    """A program that listens on a port of its own, and can be killed and started again."""

    words: list[str]
    port: int
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.port}.log"

    def start(self) -> None:
        self.begin()
        self.wait()

    def begin(self) -> None:
        # With PYTEST_CURRENT_TEST MLflow behaves otherwise.
        inherited = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self.words],
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**inherited, **self.environment},
                start_new_session=True,
            )

    def wait(self) -> None:
        """Until it listens."""
        for _ in range(1200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)
            self.process = None


@contextmanager
def served(program: Served) -> Iterator[Served]:
    try:
        program.begin()
        yield program
    finally:
        program.kill()


def mlflow_server(folder: Path, **environment: str) -> Served:
    """environment: where it keeps runs and artifacts, as a hospital tells it."""
    port = free_port()
    words = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    usual = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return Served(words, port, folder, {**usual, **environment})


class Line:
    """A server's address by another way, on which every request is counted and which a test can cut."""

    def __init__(self, target: str) -> None:
        self.target, self.address = target, ""
        self.said: list[str] = []
        self.left: int | None = None
        self.heard = self.once = False

    def cut(self, after: int, *, heard: bool = False, once: bool = False) -> None:
        """Let so many requests through, and nothing more.

        heard: the next one too reaches the server; its answer reaches nobody. once: after it all is well again.
        """
        self.said, self.left, self.heard, self.once = [], after, heard, once

    def mend(self) -> None:
        self.left = None

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        through, last = self.left is None or self.left > 0, self.left == 0
        if self.left is not None:
            self.left = None if last and self.once else self.left - 1
        if through or (last and self.heard):
            method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
            self.said.append(f"{method} {path}")
            answer = requests.request(
                method,
                f"{self.target}{path}?{environ['QUERY_STRING']}",
                data=body,
                headers={"Content-Type": environ.get("CONTENT_TYPE", "")},
                timeout=60,
            )
        if not through:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionError
        kind = answer.headers.get("Content-Type", "application/octet-stream")
        start(f"{answer.status_code} so", [("Content-Type", kind), ("Content-Length", str(len(answer.content)))])
        return [answer.content]


@contextmanager
def line_to(target: str) -> Iterator[Line]:
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Silent(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *words: Any) -> None:
            pass

    line = Line(target)
    server = make_server("127.0.0.1", 0, line, threaded=True, request_handler=Silent)
    line.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield line
    finally:
        server.shutdown()
        server.server_close()


class Store(Protocol):
    """A store that tests stock once and get anew each time."""

    def begin(self, folder: Path) -> str:
        """Empty it; its address. What belongs to it lies in the folder."""

    def stocked(self) -> None:
        """What is in it now is what `again` brings back."""

    def again(self, folder: Path) -> str:
        """As it was stocked, for one test with a folder of its own; the address."""

    def take(self, model_id: str, name: str) -> bytes:
        """Delete a file of a logged model's package, at the place where the store has it; what was in it."""

    def put(self, model_id: str, name: str, data: bytes) -> None:
        """Write one there."""


@dataclass
class SqliteFile:
    """What Osteon takes by default: a file, and artifacts in a folder beside it."""

    empty: Path
    folder: Path = Path()

    def begin(self, folder: Path) -> str:
        self.folder = folder
        shutil.copy(self.empty, folder / "mlflow.db")
        return f"sqlite:///{folder / 'mlflow.db'}"

    def stocked(self) -> None:
        """It lies where it was made."""

    def again(self, folder: Path) -> str:
        # The artifacts are known by their absolute path, and stay where they are.
        shutil.copy(self.folder / "mlflow.db", folder / "mlflow.db")
        return f"sqlite:///{folder / 'mlflow.db'}"

    def take(self, model_id: str, name: str) -> bytes:
        result = self._place(model_id) / name
        data = result.read_bytes()
        result.unlink()
        return data

    def put(self, model_id: str, name: str, data: bytes) -> None:
        (self._place(model_id) / name).write_bytes(data)

    def _place(self, model_id: str) -> Path:
        (result,) = [path.parent for path in self.folder.rglob("package.json") if model_id in path.parts]
        return result


@dataclass
class SharedServer:
    """What a hospital has: an MLflow server that keeps runs and registry in PostgreSQL and artifacts on S3.

    The artifacts go through the server (--artifacts-destination), so that it alone has keys for the bucket, and who
    trains has none; MLflow does so by default.
    """

    server: Served
    postgres: Postgres
    s3: Served
    bucket: Any
    stock: set[str] = field(default_factory=set)

    def begin(self, folder: Path) -> str:
        self.postgres.restore("empty")
        self.bucket.objects.all().delete()
        return self.server.address

    def stocked(self) -> None:
        self.postgres.keep("stocked")
        self.stock = {item.key for item in self.bucket.objects.all()}

    def again(self, folder: Path) -> str:
        self.postgres.restore("stocked")
        for item in self.bucket.objects.all():  # what other tests left would be carried out and in by without_s3
            if item.key not in self.stock:
                item.delete()
        return self.server.address

    def take(self, model_id: str, name: str) -> bytes:
        result = self.bucket.Object(self._place(model_id) + name)
        data: bytes = result.get()["Body"].read()
        result.delete()
        return data

    def put(self, model_id: str, name: str, data: bytes) -> None:
        self.bucket.Object(self._place(model_id) + name).put(Body=data)

    def _place(self, model_id: str) -> str:
        last = "package.json"
        (result,) = [item.key for item in self.bucket.objects.all() if model_id in item.key and item.key.endswith(last)]
        return str(result.removesuffix(last))

    @contextmanager
    def without_s3(self) -> Iterator[None]:
        """S3 is gone, and comes back with what it had."""
        had = {item.key: item.get()["Body"].read() for item in self.bucket.objects.all()}
        self.s3.kill()
        try:
            yield
        finally:
            self.s3.start()
            self.bucket.create()
            for key, data in had.items():
                self.bucket.put_object(Key=key, Body=data)


@contextmanager
def shared_server(folder: Path) -> Iterator[SharedServer]:
    """An empty one; skips the test where there is no PostgreSQL."""
    import boto3

    port = free_port()
    with (
        postgres_server(free_port()) as postgres,
        served(Served(["moto.server", "-H", "127.0.0.1", "-p", str(port)], port, folder)) as s3,
    ):
        bucket = boto3.resource(
            "s3",
            endpoint_url=s3.address,
            region_name="us-east-1",
            **{name.lower(): value for name, value in KEYS.items()},
        ).Bucket(BUCKET)
        environment = {
            "MLFLOW_BACKEND_STORE_URI": postgres.address,
            "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{BUCKET}/mlflow",
            "MLFLOW_S3_ENDPOINT_URL": s3.address,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",  # a test that takes S3 away need not wait for a fifth try
            **KEYS,
        }
        with served(mlflow_server(folder, **environment)) as server:
            s3.wait()
            bucket.create()
            server.wait()
            requests.get(f"{server.address}/api/2.0/mlflow/experiments/get?experiment_id=0", timeout=60)
            postgres.keep("empty")
            yield SharedServer(server, postgres, s3, bucket)
