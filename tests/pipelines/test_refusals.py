"""`osteon pipeline` against a cluster that refuses, fails, is slow or is not there: one line says what to do."""

import base64
import json
import subprocess
from pathlib import Path

import pytest

from pipelines import cluster
from tests.pipelines.conftest import Osteon
from tests.pipelines.kfp_server import Answer, Kfp, kfp_server, refusal
from tests.pipelines.workflow_nodes import Step, at, frame
from tests.stores import free_port

COMMANDS = [
    ("submit",),
    ("schedule", "--cron", "0 3 * * 1"),
    ("schedule", "--pause"),
    ("schedule", "--delete"),
    ("schedules",),
    ("status",),
    ("status", "r1"),
    ("logs", "r1"),
    ("diff", "r1", "r2"),
]

REST = r"\w+ /apis/v2beta1/(?!healthz).*"


@pytest.fixture
def two_runs(server: Kfp) -> Kfp:
    """A server with all that the commands want to see."""
    server.experiments.append({"experiment_id": "e0", "display_name": "osteon", "created_at": at(0)})
    for run_id in ("r1", "r2"):
        server.add_run(run_id, **frame("SUCCEEDED", Step("ingest", "SUCCEEDED")))
    server.recurring.append({"recurring_run_id": "j", "display_name": "osteon-retraining", "mode": "ENABLE"})
    return server


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_an_unreachable_host(osteon: Osteon, words: tuple[str, ...]) -> None:
    host = f"http://127.0.0.1:{free_port()}"
    done = osteon(*words, "--host", host)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: {host} does not answer (NewConnectionError); check the address and the network\n"


def test_a_name_that_nobody_has(osteon: Osteon) -> None:
    done = osteon("status", "--host", "kubeflow.invalid/pipeline")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "error: https://kubeflow.invalid/pipeline does not answer (NameResolutionError); "
        "check the address and the network\n"
    )


def test_an_address_that_is_none(osteon: Osteon) -> None:
    done = osteon("status", "--host", "http://:8888:1")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert done.err.startswith("error: http://:8888:1: is no address")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_slow_host(two_runs: Kfp, osteon: Osteon, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "READ", 0.1)
    two_runs.answers[REST] = Answer(200, "{}", seconds=0.3)
    done = osteon(*words)
    assert (done.code, done.out) == (2, "")
    assert done.err.endswith(f"{two_runs.address} was silent for 0.1 s; {SILENT}\n")
    assert len(done.err.splitlines()) == 1
    assert len(two_runs.requests) == 2  # it is not asked again: it may have heard it


SILENT = "it may have been done all the same: `osteon pipeline status` lists the runs"


def test_a_host_whose_health_is_slow(server: Kfp, osteon: Osteon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "READ", 0.1)
    server.answers[".*"] = Answer(200, "{}", seconds=0.3)
    done = osteon("status")
    assert (done.code, done.err) == (2, f"error: {server.address} was silent for 0.1 s\n")
    assert len(server.requests) == 1


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("pattern", [".*", REST], ids=["all", "all but health"])
def test_nobody_is_let_in_without_credentials(
    two_runs: Kfp, osteon: Osteon, words: tuple[str, ...], pattern: str
) -> None:
    two_runs.answers[pattern] = refusal(401, "Unauthenticated: there is no user identity header.")
    done = osteon(*words)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"error: {two_runs.address} needs a login (401: Unauthenticated: there is no user "
        "identity header.); set OSTEON_KFP_TOKEN_FILE to a file with a token, or OSTEON_KFP_COOKIE to the browser's "
        "session cookie\n"
    )


def test_a_token_that_is_not_accepted(server: Kfp, osteon: Osteon, token: Path) -> None:
    token.write_text("sesame")
    # A server that says it again.
    server.answers[".*"] = refusal(401, "Bearer sesame has expired")
    done = osteon("submit")
    assert done.code == 2
    assert done.err == (
        f"error: {server.address} needs a login (401: Bearer … has expired); the token in "
        "OSTEON_KFP_TOKEN_FILE is not accepted; it may have expired, or be for another audience\n"
    )


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_page_to_log_in_is_no_answer(
    two_runs: Kfp, osteon: Osteon, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dex leads whoever has no session to its page, with 200."""
    monkeypatch.setenv("OSTEON_KFP_COOKIE", "authservice_session=sesame")
    two_runs.answers[".*"] = Answer(200, "<html>Log in to Your Account</html>", "text/html")
    done = osteon(*words)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"error: {two_runs.address}: the response is a web page; to log in, the cookie in OSTEON_KFP_COOKIE is "
        "not accepted, it may have expired; take a new one from your browser\n"
    )


FORBIDDEN = (
    "User '{who}' is not authorized with reason: (request: &ResourceAttributes{{Namespace:films,Verb:create,"
    "Group:pipelines.kubeflow.org,Version:v1beta1,Resource:runs,Subresource:,Name:,}})"
)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_permission(two_runs: Kfp, osteon: Osteon, words: tuple[str, ...]) -> None:
    two_runs.answers[REST] = refusal(403, FORBIDDEN.format(who="anna@hospital.example"))
    done = osteon(*words)
    assert (done.code, done.out) == (2, "")
    assert done.err.endswith(
        f"anna@hospital.example may not create runs at {two_runs.address} (403); ask whoever owns the namespace films "
        "for the role kubeflow-edit there\n"
    )
    assert len(done.err.splitlines()) == 1


def token_of(account: str) -> str:
    body = base64.urlsafe_b64encode(json.dumps({"sub": account}).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJSUzI1NiJ9.{body}.c2VzYW1l"


@pytest.mark.parametrize(
    ("name", "content", "who"),
    [
        ("OSTEON_KFP_TOKEN_FILE", token_of("system:serviceaccount:films:osteon"), "system:serviceaccount:films:osteon"),
        ("OSTEON_KFP_TOKEN_FILE", "sesame", "the account of the token in OSTEON_KFP_TOKEN_FILE"),
        ("OSTEON_KFP_TOKEN_FILE", "a.!.c", "the account of the token in OSTEON_KFP_TOKEN_FILE"),
        ("OSTEON_KFP_COOKIE", "session=sesame", "who is logged in with OSTEON_KFP_COOKIE"),
        (None, "", "who has not authenticated"),
    ],
)
def test_who_has_no_permission_is_said_where_the_server_does_not(
    server: Kfp,
    osteon: Osteon,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str | None,
    content: str,
    who: str,
) -> None:
    if name == "OSTEON_KFP_COOKIE":
        monkeypatch.setenv(name, content)
    elif name:
        (tmp_path / "token").write_text(content)
        monkeypatch.setenv(name, str(tmp_path / "token"))
    server.answers[".*"] = Answer(403, "RBAC: access denied", "text/plain")
    done = osteon("submit")
    assert done.code == 2
    assert done.err.startswith(f"error: {who} has no permission at {server.address} (403); ")
    assert "sesame" not in done.err
    assert ("OSTEON_KFP_COOKIE to the browser's" in done.err) == (name is None)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_server_that_fails(two_runs: Kfp, osteon: Osteon, words: tuple[str, ...]) -> None:
    two_runs.answers[REST] = refusal(500, "InternalServerError: Failed to\n list: dial tcp: mysql")
    done = osteon(*words)
    assert (done.code, done.out) == (2, "")
    assert done.err.endswith(
        f"{two_runs.address} failed (500: InternalServerError: Failed to list: dial tcp: mysql); its log says why: "
        "`kubectl logs -n kubeflow deploy/ml-pipeline --tail 50`\n"
    )
    assert len(done.err.splitlines()) == 1


def test_a_server_that_is_not_ready(server: Kfp, osteon: Osteon) -> None:
    server.answers[".*"] = Answer(503, "<html>no healthy upstream</html>", "text/plain")
    done = osteon("status")
    assert (done.code, done.err) == (2, f"error: {server.address} is not ready (503); try again in a while\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("status", "r9"), "no run r9 at ADDRESS; `osteon pipeline status` lists the last"),
        (("logs", "r9"), "no run r9 at ADDRESS; `osteon pipeline status` lists the last"),
        (("logs", "r1", "nosuch"), "run r1 has no step nosuch; it has ingest, report-end"),
        (("diff", "r1", "r9"), "no run r9 at ADDRESS; `osteon pipeline status` lists the last"),
        (
            ("status", "--experiment", "mine"),
            "no experiment mine; `osteon pipeline submit` makes it, --experiment names another",
        ),
        (
            ("status", "--experiment", "mine", "--namespace", "anna"),
            "no experiment mine in the namespace anna; `osteon pipeline submit` makes it, --experiment names another",
        ),
        (("schedule", "--pause", "--name", "nightly"), "no schedule nightly; `osteon pipeline schedules` lists them"),
        (("schedule", "--delete", "--name", "nightly"), "no schedule nightly; `osteon pipeline schedules` lists them"),
    ],
)
def test_what_is_not_there(two_runs: Kfp, osteon: Osteon, words: tuple[str, ...], message: str) -> None:
    done = osteon(*words)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: {message.replace('ADDRESS', two_runs.address)}\n"


def test_what_the_server_refuses_for_another_reason(server: Kfp, osteon: Osteon) -> None:
    server.answers["POST /apis/v2beta1/runs"] = refusal(400, "Invalid input error: runtime parameter x is missing")
    done = osteon("submit")
    assert (done.code, done.err) == (
        2,
        f"error: the run was not started: {server.address} refused (400: Invalid input error: runtime parameter x is "
        "missing)\n",
    )


def test_a_certificate_of_ones_own(project: Path, osteon: Osteon, tmp_path: Path) -> None:
    certificate = tmp_path / "server.pem"
    make_certificate(certificate)
    with kfp_server(certificate) as server:
        done = osteon("schedules", "--host", server.address)
        assert (done.code, done.err) == (
            2,
            f"error: {server.address}: its certificate is not trusted; --ca names the file of your own CA\n",
        )
        done = osteon("schedules", "--host", server.address, "--ca", str(certificate))
        assert (done.code, done.err) == (0, "")


def make_certificate(path: Path) -> None:
    words = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-keyout", "-", "-out", "-"]
    more = ["-addext", "subjectAltName=IP:127.0.0.1"]
    done = subprocess.run(["openssl", "req", "-x509", *words, *more], capture_output=True, check=True)
    path.write_bytes(done.stdout)
