"""A server that speaks S3: moto's, behind a gate at which a test can forbid things, one by one, as S3 would."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from tempfile import NamedTemporaryFile
from typing import Any
from urllib.parse import parse_qs

import pytest

# What S3's documentation calls the permission for each part of a bucket.
PARTS = {
    "versioning": ("s3:GetBucketVersioning", "s3:PutBucketVersioning"),
    "encryption": ("s3:GetEncryptionConfiguration", "s3:PutEncryptionConfiguration"),
    "publicAccessBlock": ("s3:GetBucketPublicAccessBlock", "s3:PutBucketPublicAccessBlock"),
    "lifecycle": ("s3:GetLifecycleConfiguration", "s3:PutLifecycleConfiguration"),
}


def permission(method: str, path: str, query: str) -> str:
    """The permission that a request needs."""
    requested = parse_qs(query, keep_blank_values=True)
    for part, (reading, writing) in PARTS.items():
        if part in requested:
            return reading if method == "GET" else writing
    if "/" in path.strip("/"):
        if method == "DELETE":
            return "s3:DeleteObjectVersion" if "versionId" in requested else "s3:DeleteObject"
        return "s3:GetObject" if method in ("GET", "HEAD") else "s3:PutObject"
    return {"PUT": "s3:CreateBucket", "POST": "s3:DeleteObject"}.get(method, "s3:ListBucket")


def error(status: int, code: str) -> tuple[int, bytes]:
    """An answer as S3 gives it where it refuses."""
    return status, f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>so it is</Message></Error>".encode()


@dataclass
class Gate:
    """What it lets through reaches moto; what a test wants answered otherwise never does."""

    app: Any
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"].startswith("/moto-api"):
            return self.app(environ, start)  # type: ignore[no-any-return]
        needed = permission(environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"])
        self.asked.append(needed)
        if needed not in self.answers:
            return self.app(environ, start)  # type: ignore[no-any-return]
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        status, body = self.answers[needed]
        start(f"{status} so", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]


@dataclass
class S3:
    """A running server, its gate, and a client that looks past what is tested."""

    endpoint: str
    gate: Gate
    client: Any


KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "sesame"}
UNSET = (
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_CA_BUNDLE",
    "HTTP_PROXY",
    "http_proxy",
)


@contextmanager
def s3_server() -> Iterator[S3]:
    """An empty server on a free port, with keys for it in the environment."""
    import boto3
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Silent(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *words: Any) -> None:
            pass

    with pytest.MonkeyPatch.context() as monkeypatch, NamedTemporaryFile(prefix="aws-") as empty:
        for name in UNSET:
            monkeypatch.delenv(name, raising=False)
        for name, value in {**KEYS, "AWS_EC2_METADATA_DISABLED": "true"}.items():
            monkeypatch.setenv(name, value)
        # Nothing of the user's own may be used; DVC wants files that are there.
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(name, empty.name)
        gate = Gate(DomainDispatcherApplication(create_backend_app))
        server = make_server("127.0.0.1", 0, gate, threaded=True, request_handler=Silent)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        try:
            # Straight to moto: a test that forbids something must still be able to look.
            yield S3(endpoint, gate, boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1"))
        finally:
            import requests

            requests.post(f"{endpoint}/moto-api/reset", timeout=30)
            server.shutdown()
            server.server_close()
