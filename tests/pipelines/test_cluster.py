"""`osteon pipeline` against a server that speaks Kubeflow Pipelines: what is sent, what is said, and every refusal."""

import base64
import hashlib
import json
import logging
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from components.params import Params, load_params
from components.promotion.policy import read_policy
from pipelines import cluster, following
from pipelines.schedules import next_times, read_cron
from tests.pipelines.conftest import IMAGE, Osteon, compile_to
from tests.pipelines.kfp_server import Answer, Kfp, at, frame, inside, kfp_server, nodes, refusal
from tests.stores import free_port

TRAINING = Path("pipelines/compiled/training.yaml")
POD = "osteon-training-x7k2p-system-container-impl-202"
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


@pytest.fixture
def server(kfp_there: Kfp, monkeypatch: pytest.MonkeyPatch) -> Kfp:
    monkeypatch.setattr(following, "POLL", 0.01)
    return kfp_there


def version_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


# ---------------------------------------------------------------- submit


def test_submit_uploads_the_version_and_starts_a_run_of_it(server: Kfp, osteon: Osteon, project: Path) -> None:
    words = ("--param", "training.epochs=3", "--revision", "v1", "--repository", "git@git.example:osteon.git")
    done = osteon("submit", *words, "--mode", "dry_run", "--reason", "new films")
    assert (done.code, done.err) == (0, "")
    (run,), name = server.runs, version_of(TRAINING)
    assert done.lines == [
        f"pipeline  osteon-training, version {name} (new)",
        f"run       {run['run_id']}",
        f"page      {server.address}/#/runs/details/{run['run_id']}",
    ]
    assert [(one["display_name"], one["name"]) for one in server.pipelines] == [("osteon-training", "osteon-training")]
    (upload,) = server.sent("POST", "/pipelines/upload_version")
    assert upload.query == {"name": name, "pipelineid": "p0", "description": IMAGE}
    assert server.uploads == [TRAINING.read_bytes()]
    assert [one.body for one in server.sent("POST", "/experiments")] == [{"display_name": "osteon"}]
    (sent,) = (one.body for one in server.sent("POST", "/runs"))
    arguments = sent["runtime_config"].pop("parameters")
    assert sent.pop("display_name").startswith("osteon-training 20")
    assert sent == {
        "experiment_id": "e0",
        "pipeline_version_reference": {"pipeline_id": "p0", "pipeline_version_id": "v0"},
        "runtime_config": {},
    }
    params = Params.model_validate_json(arguments.pop("params"))
    assert params.training.epochs == 3
    assert params.search == load_params(Path("params.yaml")).search
    policy = read_policy(Path("mlflow/promotion.yaml"))
    assert json.loads(arguments.pop("policy")) == json.loads(policy.model_dump_json())
    assert arguments == {
        "repository": "git@git.example:osteon.git",
        "revision": "v1",
        "mode": "dry_run",
        "reason": "new films",
    }


def test_the_same_content_is_uploaded_once_and_another_becomes_a_version_more(server: Kfp, osteon: Osteon) -> None:
    osteon("submit")
    again = osteon("submit", "--param", "training.epochs=3")
    assert again.lines[0] == f"pipeline  osteon-training, version {version_of(TRAINING)}"
    assert len(server.uploads) == len(server.versions) == len(server.pipelines) == len(server.experiments) == 1
    compile_to(TRAINING, "osteon-training", IMAGE.replace("a" * 64, "b" * 64))
    assert osteon("submit").lines[0] == f"pipeline  osteon-training, version {version_of(TRAINING)} (new)"
    started = [run["pipeline_version_reference"]["pipeline_version_id"] for run in server.runs]
    assert started == ["v0", "v0", "v1"]


def test_a_version_that_somebody_else_uploads_at_the_same_time_is_taken_as_there(server: Kfp, osteon: Osteon) -> None:
    name = version_of(TRAINING)
    osteon("submit")
    # The first look finds nothing, the upload a conflict, the second look the version.
    server.answers["GET /apis/v2beta1/pipelines/p0/versions"] = Answer(200, "{}", times=1)
    done = osteon("submit")
    assert (done.code, done.lines[0]) == (0, f"pipeline  osteon-training, version {name}")
    assert len(server.sent("POST", "/pipelines/upload_version")) == 2
    assert len(server.uploads) == 1


def test_the_repository_is_the_folders_own_or_that_of_the_secret(server: Kfp, osteon: Osteon, project: Path) -> None:
    def sent() -> str:
        return str(server.sent("POST", "/runs")[-1].body["runtime_config"]["parameters"]["repository"])

    assert osteon("submit").code == 0
    assert sent() == ""
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", "remote", "add", "origin", "https://git.example/osteon.git"], check=True)
    assert osteon("submit").code == 0
    assert sent() == "https://git.example/osteon.git"
    assert osteon("submit", "--repository", "").code == 0
    assert sent() == ""
    subprocess.run(["git", "remote", "set-url", "origin", "https://anna:sesame@git.example/osteon.git"], check=True)
    assert osteon("submit").code == 0
    assert sent() == ""
    assert "sesame" not in str(server.asked)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--param", "training.epoch=3"), "--param: training.epoch: unknown key (did you mean epochs?)"),
        (("--param", "training.epochs=0"), "--param: training.epochs = 0: input should be greater"),
        (("--repository", "https://a:sesame@git.example/x.git"), "--repository https://git.example/x.git: has a pass"),
        (("--params", "mine.yaml"), "mine.yaml: no such file"),
        (("other.yaml",), "other.yaml: no such file; `osteon pipeline compile --image NAME@sha256:…"),
        (("params.yaml",), "params.yaml: is no compiled pipeline; `osteon pipeline compile"),
        (("pipelines/compiled/retraining.yaml",), "pipelines/compiled/retraining.yaml: takes no reason; is it the"),
        (("--host", "https://anna:sesame@kubeflow.example"), "https://kubeflow.example: the address has a password"),
        (("--ca", "ca.pem"), "--ca ca.pem: no such file"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_sent(
    server: Kfp, osteon: Osteon, words: tuple[str, ...], message: str
) -> None:
    done = osteon("submit", *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {message}")
    assert len(done.err.splitlines()) == 1
    assert "sesame" not in done.err
    assert server.asked == []


@pytest.mark.parametrize("image", ["registry.example/osteon:v1", "registry.example/osteon", "osteon:v1@sha256:abc"])
def test_an_image_that_is_named_by_a_tag_is_refused(server: Kfp, osteon: Osteon, image: str) -> None:
    compile_to(TRAINING, "osteon-training", image)
    done = osteon("submit")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"error: {TRAINING}: the image {image} is named by a tag, which may move; name its digest: "
        "`osteon pipeline compile --image NAME@sha256:…`\n"
    )
    assert server.asked == []


def test_the_example_of_the_repository_is_no_pipeline_to_run(server: Kfp, osteon: Osteon) -> None:
    compile_to(TRAINING, "osteon-training", IMAGE.replace("a" * 64, "0" * 64))
    done = osteon("submit")
    assert (done.code, done.out, server.asked) == (2, "", [])
    assert done.err.startswith(f"error: {TRAINING}: is an example, compiled for an image that is nowhere; `osteon pipe")


def test_no_cluster_is_named(osteon: Osteon, project: Path) -> None:
    done = osteon("status")
    assert done.code == 2
    assert done.err.startswith("error: no cluster is named; give --host or set OSTEON_KFP_HOST, such as https://")


# ---------------------------------------------------------------- who we are


def test_the_token_is_read_from_its_file_for_each_request(
    server: Kfp, osteon: Osteon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("sesame-1\n")
    monkeypatch.setenv("OSTEON_KFP_TOKEN_FILE", str(token))
    assert osteon("submit").code == 0
    assert {asked.headers["authorization"] for asked in server.asked} == {"Bearer sesame-1"}
    server.asked.clear()
    token.write_text("sesame-2\n")
    assert osteon("schedules").code == 0
    assert {asked.headers["authorization"] for asked in server.asked} == {"Bearer sesame-2"}
    assert {"cookie"} & {name for asked in server.asked for name in asked.headers} == set()


def test_a_token_that_is_renewed_in_the_middle_is_taken(
    server: Kfp, osteon: Osteon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("sesame-1")
    monkeypatch.setenv("OSTEON_KFP_TOKEN_FILE", str(token))
    server.plays = [
        frame("RUNNING", nodes("ingest", "RUNNING", 1)),
        frame("SUCCEEDED", nodes("ingest", "SUCCEEDED", 1)),
    ]
    server.then = lambda asked: token.write_text("sesame-2") and None if "/runs/" in asked.path else None
    assert osteon("submit", "--wait").code == 0
    first, second = (one.headers["authorization"] for one in server.sent("GET", "/runs/[^/]+"))
    assert (first, second) == ("Bearer sesame-1", "Bearer sesame-2")


def test_a_cookie_comes_from_the_environment_alone(
    server: Kfp, osteon: Osteon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSTEON_KFP_COOKIE", "authservice_session=sesame")
    done = osteon("submit")
    assert done.code == 0
    assert {asked.headers["cookie"] for asked in server.asked} == {"authservice_session=sesame"}
    assert {"authorization"} & {name for asked in server.asked for name in asked.headers} == set()
    assert "sesame" not in done.out + done.err
    assert "cookie" not in osteon("submit", "--help").out.lower()


@pytest.mark.parametrize(("content", "reason"), [(None, "cannot be read (FileNotFoundError)"), (" \n", "is empty")])
def test_a_token_file_without_a_token(
    server: Kfp, osteon: Osteon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / "token").write_text(content)
    monkeypatch.setenv("OSTEON_KFP_TOKEN_FILE", str(tmp_path / "token"))
    done = osteon("status")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert done.err.startswith(f"error: OSTEON_KFP_TOKEN_FILE={tmp_path / 'token'}: {reason}")
    assert server.asked == []


def test_nothing_is_written_to_the_users_home(server: Kfp, osteon: Osteon, tmp_path: Path) -> None:
    assert osteon("submit", "--namespace", "anna").code == 0
    assert not (tmp_path / "home").exists()


def test_the_namespace_goes_with_all_that_is_looked_for_and_made(server: Kfp, osteon: Osteon) -> None:
    server.multi_user = True
    for words in (("submit",), ("schedule", "--cron", "0 3 * * 1"), ("schedules",), ("status",)):
        assert osteon(*words, "--namespace", "anna").code == 0, words
    assert {one["namespace"] for one in (*server.pipelines, *server.experiments)} == {"anna"}
    for path in ("/pipelines", "/experiments", "/recurringruns"):
        assert {one.query["namespace"] for one in server.sent("GET", path)} == {"anna"}


def test_where_there_are_several_users_a_namespace_is_needed(
    server: Kfp, osteon: Osteon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import kfp.client

    server.multi_user = True
    done = osteon("submit")
    assert (done.code, done.err) == (
        2,
        "error: this Kubeflow has several users; say which namespace is yours with --namespace\n",
    )
    assert [one.path for one in server.asked] == ["/apis/v2beta1/healthz"]
    # In a pod it is the pod's.
    (tmp_path / "namespace").write_text("anna")
    monkeypatch.setattr(kfp.client.Client, "_NAMESPACE_PATH", str(tmp_path / "namespace"))
    assert osteon("submit").code == 0
    assert server.experiments[0]["namespace"] == "anna"


def test_without_https_a_secret_is_sent_with_a_warning(
    server: Kfp, osteon: Osteon, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OSTEON_KFP_COOKIE", "authservice_session=sesame")
    assert osteon("status", "--host", server.address).code == 2
    assert caplog.messages == []  # it does not leave this machine
    port = server.address.rpartition(":")[2]
    osteon("status", "--host", f"http://0.0.0.0:{port}")
    (warning,) = caplog.messages
    assert warning == f"warning: http://0.0.0.0:{port}: without https, others can read the token or cookie"


# ---------------------------------------------------------------- refusals


REST = r"\w+ /apis/v2beta1/(?!healthz).*"


@pytest.fixture
def two_runs(server: Kfp) -> Kfp:
    """A server with all that the commands want to see."""
    server.experiments.append({"experiment_id": "e0", "display_name": "osteon", "created_at": at(0)})
    for run_id in ("r1", "r2"):
        server.add_run(run_id, **frame("SUCCEEDED", nodes("ingest", "SUCCEEDED", 1)))
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
    assert len(two_runs.asked) == 2  # it is not asked again: it may have heard it


SILENT = "it may have been done all the same: `osteon pipeline status` lists the runs"


def test_a_host_whose_health_is_slow(server: Kfp, osteon: Osteon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "READ", 0.1)
    server.answers[".*"] = Answer(200, "{}", seconds=0.3)
    done = osteon("status")
    assert (done.code, done.err) == (2, f"error: {server.address} was silent for 0.1 s\n")
    assert len(server.asked) == 1


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("pattern", [".*", REST], ids=["all", "all but health"])
def test_nobody_is_let_in_without_credentials(
    two_runs: Kfp, osteon: Osteon, words: tuple[str, ...], pattern: str
) -> None:
    two_runs.answers[pattern] = refusal(401, "Unauthenticated: there is no user identity header.")
    done = osteon(*words)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"error: {two_runs.address} lets nobody in without credentials (401: Unauthenticated: there is no user "
        "identity header.); set OSTEON_KFP_TOKEN_FILE to a file with a token, or OSTEON_KFP_COOKIE to the browser's "
        "session cookie\n"
    )


def test_a_token_that_is_not_accepted(
    server: Kfp, osteon: Osteon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("sesame")
    monkeypatch.setenv("OSTEON_KFP_TOKEN_FILE", str(tmp_path / "token"))
    # A server that says it again.
    server.answers[".*"] = refusal(401, "Bearer sesame has expired")
    done = osteon("submit")
    assert done.code == 2
    assert done.err == (
        f"error: {server.address} lets nobody in without credentials (401: Bearer … has expired); the token in "
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
        f"error: {two_runs.address}: a web page came and not an answer; to log in, the cookie in OSTEON_KFP_COOKIE is "
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
        (("logs", "r1", "nosuch"), "run r1 has no step nosuch; it has ingest"),
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


# ---------------------------------------------------------------- follow


def test_wait_says_each_change_once_and_ends_with_the_run(server: Kfp, osteon: Osteon) -> None:
    ingest, prepare = nodes("ingest", "SUCCEEDED", 1, 5, 36), nodes("prepare", "CACHED", 2, 40, 41)
    server.plays = [
        {"state": "PENDING"},
        frame("RUNNING", nodes("ingest", "WAITING", 1, 1)),
        frame("RUNNING", nodes("ingest", "RUNNING", 1, 5)),
        frame("RUNNING", nodes("ingest", "RUNNING", 1, 5)),
        frame("RUNNING", ingest, nodes("prepare", "WAITING", 2, 40)),
        frame("RUNNING", ingest, prepare, nodes("train", "RUNNING", 3, 42)),
        frame("SUCCEEDED", ingest, prepare, nodes("train", "SUCCEEDED", 3, 42, 720, attempts=2)),
    ]
    done = osteon("submit", "--wait")
    assert (done.code, done.err) == (0, "")
    assert done.lines[3:] == [
        "03:00:05  ingest            running",
        "03:00:36  ingest            succeeded after 31 s",
        "03:00:41  prepare           from the cache",
        "03:00:42  train             running",
        "03:12:00  train             succeeded after 11 min 18 s",
        "succeeded after 12 min 3 s",
    ]


@pytest.mark.parametrize("pages", [False, True], ids=["the API's server", "the server of the pages"])
def test_a_run_that_fails_ends_with_the_step_and_the_end_of_its_log(server: Kfp, osteon: Osteon, pages: bool) -> None:
    server.serves_pages = pages
    server.plays = [
        frame("RUNNING", nodes("ingest", "SUCCEEDED", 1, 5, 36), nodes("train", "RUNNING", 2, 42)),
        frame(
            "FAILED",
            nodes("ingest", "SUCCEEDED", 1, 5, 36),
            nodes("train", "FAILED", 2, 42, 165),
            nodes("evaluate", "SKIPPED", 3, 166),
        ),
    ]
    server.logs = {POD: "".join(f"line {i}\n" for i in range(50)) + "error: no film is left\n"}
    done = osteon("submit", "--wait")
    run_id = server.runs[0]["run_id"]
    assert (done.code, done.err) == (4, "")
    assert [line for line in done.lines[4:] if not line.startswith("    ")] == [
        "03:00:42  train             running",
        "03:02:45  train             failed after 2 min 3 s",
        "03:02:46  evaluate          skipped",
        "failed after 12 min 3 s",
        "train failed after 2 min 3 s; the end of its log:",
        f"all of it: `osteon pipeline logs {run_id} train`",
    ]
    log = [line for line in done.lines if line.startswith("    ")]
    assert (len(log), log[0], log[-1]) == (20, "    line 31", "    error: no film is left")
    if pages:
        (asked,) = (one for one in server.asked if one.path == "/k8s/pod/logs")
        assert asked.query == {"podname": POD, "runid": run_id, "podnamespace": "kubeflow"}
    everything = osteon("logs", run_id)
    assert (everything.code, everything.out) == (0, server.logs[POD])


def test_a_failed_run_whose_log_the_cluster_has_not_kept(server: Kfp, osteon: Osteon) -> None:
    server.plays = [frame("FAILED", nodes("train", "FAILED", 2, 42, 165))]
    done = osteon("submit", "--wait", "--namespace", "films")
    command = f"`kubectl logs -n films {POD} -c main`"
    assert done.code == 4
    assert done.lines[-2:] == [
        "train failed after 2 min 3 s",
        f"the cluster does not keep its log; while the pod is there: {command}",
    ]
    for words in (("train",), ()):
        done = osteon("logs", server.runs[0]["run_id"], *words, "--namespace", "films")
        assert (done.code, done.out) == (2, "")
        assert done.err == (f"error: train: the cluster does not keep its log; while the pod is there: {command}\n")


def test_a_step_that_could_not_be_prepared(server: Kfp, osteon: Osteon) -> None:
    server.plays = [frame("FAILED", nodes("train", "DRIVER", 2, 42, 44), nodes("evaluate", "SKIPPED", 3))]
    server.logs = {"osteon-training-x7k2p-system-container-driver-200": "driver: no such artefact\n"}
    done = osteon("submit", "--wait")
    assert done.code == 4
    assert "03:00:44  train             failed after 2 s" in done.lines
    assert done.lines[-3:-1] == ["train failed after 2 s; the end of its log:", "    driver: no such artefact"]


def test_a_run_that_could_not_begin_or_was_cancelled(server: Kfp, osteon: Osteon) -> None:
    server.plays = [{"state": "FAILED", "finished_at": at(2), "error": {"message": "quota\nexceeded"}}]
    done = osteon("submit", "--wait")
    page = f"{server.address}/#/runs/details/{server.runs[0]['run_id']}"
    assert (done.code, done.lines[-2:]) == (4, ["failed after 2 s", f"failed: quota exceeded; see {page}"])
    server.plays = [frame("CANCELED", nodes("train", "RUNNING", 2, 42))]
    done = osteon("submit", "--wait")
    assert (done.code, done.lines[-2]) == (4, "canceled")


def test_a_cluster_that_is_away_for_a_while_is_asked_again(server: Kfp, osteon: Osteon) -> None:
    server.plays = [frame("RUNNING", nodes("train", "RUNNING", 2, 42)), frame("SUCCEEDED")]
    server.answers[r"GET /apis/v2beta1/runs/[^/]+"] = Answer(503, "", "text/plain", times=3)
    done = osteon("submit", "--wait")
    assert done.code == 0
    (away,) = (line for line in done.lines if "503" in line)
    assert away.endswith("is not ready (503); try again in a while; asking again")


def test_who_is_not_let_in_any_more_learns_that_the_run_goes_on(server: Kfp, osteon: Osteon) -> None:
    server.answers[r"GET /apis/v2beta1/runs/[^/]+"] = refusal(401, "expired")
    done = osteon("submit", "--wait")
    assert done.code == 2
    run_id = server.runs[0]["run_id"]
    assert done.err.endswith(f"; the run goes on: `osteon pipeline status {run_id}`\n")


def test_whoever_stops_waiting_learns_that_the_run_goes_on(
    server: Kfp, osteon: Osteon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*given: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(following, "get_run", stop)
    done = osteon("submit", "--wait")
    run_id = server.runs[0]["run_id"]
    assert (done.code, done.err) == (130, f"the run goes on: `osteon pipeline status {run_id}`\n")


# ---------------------------------------------------------------- status and logs


def test_status_lists_the_last_ten_runs_of_the_experiment(server: Kfp, osteon: Osteon) -> None:
    server.experiments += [
        {"experiment_id": f"e{i}", "display_name": name, "created_at": at(i)} for i, name in enumerate(("osteon", "x"))
    ]
    assert osteon("status").out == "no run yet; `osteon pipeline submit` starts one\n"
    for i in range(12):
        server.add_run(f"r{i}", finished_at=at(i + 61))
    server.add_run("other", experiment_id="e1")
    server.runs[11].update(state="RUNNING", finished_at="1970-01-01T00:00:00Z")
    server.runs[10].update(state="PENDING", finished_at="1970-01-01T00:00:00Z")
    done = osteon("status")
    assert done.code == 0
    assert done.lines[0] == "run  begun, UTC        name                 state"
    assert [line.split()[0] for line in done.lines[1:]] == [f"r{i}" for i in range(11, 1, -1)]
    assert done.lines[1].startswith("r11  2026-11-22 03:00  osteon-training r11  running, ")
    assert done.lines[2] == "r10  2026-11-22 03:00  osteon-training r10  waiting"
    assert done.lines[3] == "r9   2026-11-22 03:00  osteon-training r9   succeeded after 1 min 1 s"


def test_status_of_a_run_has_a_line_for_each_step(server: Kfp, osteon: Osteon) -> None:
    steps = [
        nodes("train", "FAILED", 3, 42, 720, attempts=3),
        nodes("ingest", "SUCCEEDED", 1, 5, 36),
        nodes("prepare", "CACHED", 2, 40, 41),
        nodes("evaluate", "SKIPPED", 4, 721),
    ]
    server.add_run("r1", **frame("FAILED", *steps))
    done = osteon("status", "r1")
    assert done.code == 0
    assert done.lines == [
        "run    r1  osteon-training r1",
        f"page   {server.address}/#/runs/details/r1",
        "state  failed after 12 min 3 s",
        "",
        "step      begun, UTC  state",
        "ingest    03:00:05    succeeded after 31 s",
        "prepare   03:00:40    from the cache",
        "train     03:00:42    failed after 11 min 18 s",
        "evaluate  03:12:01    skipped",
    ]


def test_steps_side_by_side_under_one_name_are_told_each(server: Kfp, osteon: Osteon) -> None:
    folds = [nodes("fold", "SUCCEEDED", 1, 5, 36), nodes("fold", "RUNNING", 2, 5), nodes("fold", "WAITING", 3, 6)]
    server.add_run("r1", **frame("RUNNING", *folds))
    states = [line.split()[2] for line in osteon("status", "r1").lines[5:]]
    assert states == ["succeeded", "running,", "waiting"]


def test_conditions_loops_and_pipelines_in_pipelines_are_no_steps(server: Kfp, osteon: Osteon) -> None:
    fold = [nodes("fold", state, number, 5, 36) for number, state in ((1, "SUCCEEDED"), (2, "FAILED"))]
    items = [inside("iteration-item", "RUNNING", 11 + i, one) for i, one in enumerate(fold)]
    steps = [
        inside("for-loop-2", "RUNNING", 8, *items),
        inside("osteon-training-steps", "FAILED", 3, nodes("train", "FAILED", 4, 42, 165)),
        nodes("iteration", "SUCCEEDED", 5)[:1],  # of a loop, whose graph has another name
        nodes("condition-3", "SKIPPED", 6),
        nodes("condition-4", "DRIVER", 7, 170, 171),
    ]
    server.add_run("r1", **frame("FAILED", *steps))
    assert [line.split()[0] for line in osteon("status", "r1").lines[5:]] == ["fold", "fold", "train", "condition-4"]
    server.logs = {f"osteon-training-x7k2p-system-container-impl-{number}": str(number) for number in (202, 402)}
    server.logs["osteon-training-x7k2p-system-container-driver-700"] = "no such argument"
    assert osteon("logs", "r1").lines[1::2] == ["202", "402", "no such argument"]


def test_a_server_that_tells_no_nodes_but_steps(server: Kfp, osteon: Osteon) -> None:
    details = [
        {"display_name": "ingest", "task_id": "t", "state": "SUCCEEDED", "start_time": at(5), "end_time": at(36)}
    ]
    server.add_run("r1", run_details={"task_details": details})
    assert osteon("status", "r1").lines[-1] == "ingest  03:00:05    succeeded after 31 s"
    done = osteon("logs", "r1")
    assert done.out == ""


def test_a_server_that_does_not_tell_the_nodes_own_names(server: Kfp, osteon: Osteon) -> None:
    """As those before 2.17; the child's name is what their log is asked by."""
    run = server.add_run("r1", **frame("FAILED", nodes("train", "FAILED", 2, 42, 165)))
    for node in run["run_details"]["task_details"]:
        del node["pod_name"]
    server.logs = {"osteon-training-x7k2p-202": "error: no film is left\n"}
    assert osteon("logs", "r1", "train").out == "error: no film is left\n"


def test_logs_of_all_steps_of_a_good_run_each_with_its_pod(server: Kfp, osteon: Osteon) -> None:
    steps = [nodes("ingest", "SUCCEEDED", 1), nodes("prepare", "CACHED", 2), nodes("train", "SUCCEEDED", 3, attempts=2)]
    server.add_run("r1", **frame("SUCCEEDED", *steps))
    pods = [f"osteon-training-x7k2p-system-container-impl-{number}" for number in (102, 303, 304)]
    server.logs = dict(zip(pods, ("ingest: films 3\n", "killed", "12"), strict=True))
    done = osteon("logs", "r1")
    assert (done.code, done.err) == (0, "")
    assert done.lines == [
        f"── ingest ({pods[0]})",
        "ingest: films 3",
        f"── train ({pods[1]})",
        "killed",
        f"── train ({pods[2]})",
        "12",
    ]
    assert osteon("logs", "r1", "ingest").out == "ingest: films 3\n"
    assert osteon("logs", "r1", "prepare").out == "prepare wrote nothing: its result came from the cache\n"


def test_the_page_is_where_the_pages_are(server: Kfp, osteon: Osteon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KF_PIPELINES_UI_ENDPOINT", "https://kubeflow.example/pipeline")
    server.add_run("r1")
    assert osteon("status", "r1").lines[1] == "page   https://kubeflow.example/pipeline/#/runs/details/r1"
    # As a browser shows it.
    assert osteon("status", "r1", "--host", f"{server.address}/#/runs").code == 0


# ---------------------------------------------------------------- schedules


def test_schedule_makes_one_that_follows_the_newest_version(server: Kfp, osteon: Osteon) -> None:
    done = osteon("schedule", "--cron", "30 3 * * mon", "--param", "training.epochs=3", "--revision", "v1")
    assert (done.code, done.err) == (0, "")
    times = next_times("0 30 3 * * 1")
    assert done.lines == [
        "osteon-retraining: made",
        f"pipeline  osteon-retraining, version {version_of(TRAINING.with_name('retraining.yaml'))} or, once there is "
        "one, a newer",
        f"next      {', '.join(f'{time:%Y-%m-%d %H:%M}' for time in times)} UTC",
    ]
    assert all(time > datetime.now(UTC) and (time.weekday(), time.hour, time.minute) == (0, 3, 30) for time in times)
    assert times[1] - times[0] == timedelta(days=7)
    (sent,) = (one.body for one in server.sent("POST", "/recurringruns"))
    arguments = sent["runtime_config"].pop("parameters")
    assert sent == {
        "display_name": "osteon-retraining",
        "experiment_id": "e0",
        "mode": "ENABLE",
        "pipeline_version_reference": {"pipeline_id": "p0"},  # no version: the newest
        "runtime_config": {},
        "trigger": {"cron_schedule": {"cron": "0 30 3 * * MON"}},
        "max_concurrency": 1,
        "no_catchup": True,
    }
    assert set(arguments) == {"params", "policy", "repository", "revision", "mode"}
    assert Params.model_validate_json(arguments["params"]).training.epochs == 3
    assert arguments["revision"] == "v1"
    assert [one["display_name"] for one in server.pipelines] == ["osteon-retraining"]


def test_said_again_it_replaces_those_of_its_name_and_no_other(server: Kfp, osteon: Osteon) -> None:
    for name in ("osteon-retraining", "nightly"):
        assert osteon("schedule", "--cron", "0 3 * * 1", "--name", name).code == 0
    earlier = [one["recurring_run_id"] for one in server.recurring]
    server.recurring += [{**server.recurring[0], "recurring_run_id": f"twin {i}"} for i in range(120)]
    server.asked.clear()
    done = osteon("schedule", "--cron", "0 4 * * *")
    assert (done.code, done.lines[0]) == (0, "osteon-retraining: replaced")
    assert [(one["display_name"], one["trigger"]["cron_schedule"]["cron"]) for one in server.recurring] == [
        ("nightly", "0 0 3 * * 1"),
        ("osteon-retraining", "0 0 4 * * *"),
    ]
    assert server.recurring[0]["recurring_run_id"] == earlier[1]
    done_in_order = [one.method for one in server.asked if "recurringruns" in one.path and one.method != "GET"]
    assert done_in_order == ["POST", *["DELETE"] * 121]  # the new one first


@pytest.mark.parametrize(
    ("pattern", "answer"),
    [
        ("POST /apis/v2beta1/recurringruns", refusal(400, "Invalid input error: no")),
        ("POST /apis/v2beta1/recurringruns", refusal(500, "no")),
        ("POST /apis/v2beta1/pipelines/upload_version", refusal(500, "no")),
        (r"GET /apis/v2beta1/recurringruns/[^/]+", refusal(500, "no")),
        (
            r"GET /apis/v2beta1/recurringruns/[^/]+",
            Answer(200, json.dumps({"recurring_run_id": "x", "mode": "DISABLE"})),
        ),
    ],
)
def test_where_none_can_be_made_the_earlier_one_stays(
    server: Kfp, osteon: Osteon, pattern: str, answer: Answer
) -> None:
    assert osteon("schedule", "--cron", "0 3 * * 1").code == 0
    (earlier,) = server.recurring
    compile_to(TRAINING.with_name("retraining.yaml"), "osteon-retraining", IMAGE.replace("a" * 64, "b" * 64))
    server.answers[pattern] = answer
    done = osteon("schedule", "--cron", "0 4 * * *")
    assert (done.code, done.out) == (2, "")
    assert len(done.err.splitlines()) == 1
    assert earlier in server.recurring
    assert ("upload" in pattern) or "the earlier one is as it was" in done.err
    if answer.status == 200:
        assert server.recurring == [earlier]  # what was not as asked for is gone again


def test_an_earlier_one_that_cannot_be_deleted_is_said(server: Kfp, osteon: Osteon) -> None:
    assert osteon("schedule", "--cron", "0 3 * * 1").code == 0
    server.answers[r"DELETE /apis/v2beta1/recurringruns/.*"] = refusal(500, "no")
    done = osteon("schedule", "--cron", "0 4 * * *")
    assert done.code == 2
    assert done.err.startswith("error: schedule osteon-retraining is made, but an earlier one could not be deleted; ")
    assert len(server.recurring) == 2
    server.answers.clear()
    assert osteon("schedule", "--cron", "0 4 * * *").code == 0
    assert len(server.recurring) == 1


def test_one_that_somebody_else_deletes_at_the_same_time_is_deleted(server: Kfp, osteon: Osteon) -> None:
    assert osteon("schedule", "--cron", "0 3 * * 1").code == 0
    server.answers[r"DELETE /apis/v2beta1/recurringruns/.*"] = refusal(404, "not found")
    assert osteon("schedule", "--delete").code == 0


def test_a_file_that_is_not_the_newest_version_is_said(server: Kfp, osteon: Osteon) -> None:
    file = TRAINING.with_name("retraining.yaml")
    older = file.read_bytes()
    osteon("schedule", "--cron", "0 3 * * 1")
    compile_to(file, "osteon-retraining", IMAGE.replace("a" * 64, "b" * 64))
    newer = version_of(file)
    osteon("schedule", "--cron", "0 3 * * 1")
    file.write_bytes(older)
    done = osteon("schedule", "--cron", "0 3 * * 1")
    assert done.code == 0
    assert done.lines[1] == f"pipeline  osteon-retraining, version {newer} or, once there is one, a newer"
    assert done.err == f"warning: {file} is version {version_of(file)}, which is older and not run\n"


def test_pause_and_delete(server: Kfp, osteon: Osteon) -> None:
    osteon("schedule", "--cron", "0 3 * * 1")
    done = osteon("schedule", "--pause")
    assert (done.code, done.out) == (0, "osteon-retraining: paused; --cron makes it anew\n")
    assert server.recurring[0]["mode"] == "DISABLE"
    assert osteon("schedules").lines[1].split() == ["osteon-retraining", "0", "3", "*", "*", "1", "paused", "–"]
    done = osteon("schedule", "--cron", "0 3 * * 1", "--pause")
    assert done.lines[0] == "osteon-retraining: replaced, paused"
    assert (len(done.lines), [one["mode"] for one in server.recurring]) == (2, ["DISABLE"])
    osteon("schedule", "--cron", "0 3 * * 1")
    assert [one["mode"] for one in server.recurring] == ["ENABLE"]
    done = osteon("schedule", "--delete")
    assert (done.code, done.out, server.recurring) == (0, "osteon-retraining: deleted\n", [])


@pytest.mark.parametrize(
    "words", [(), ("--cron", "0 3 * * 1", "--delete"), ("--pause", "--delete"), ("--name", "nightly")]
)
def test_schedule_needs_to_know_what_to_do(server: Kfp, osteon: Osteon, words: tuple[str, ...]) -> None:
    done = osteon("schedule", *words)
    assert done.code == 2
    assert "give --cron (and --pause, if you like), or --pause, or --delete" in done.err
    assert server.asked == []


@pytest.mark.parametrize(
    ("cron", "message"),
    [
        ("0 3 * *", "give five fields: minute hour day month weekday, such as '0 3 * * 1'"),
        ("0 0 3 * * 1", "give five fields"),
        ("@daily", "give five fields"),
        ("0 25 * * *", "bad hour; see `man 5 crontab`"),
        ("x 3 * * *", "bad minute"),
        ("0 3 * * fri-sun", "bad day-of-week"),
        ("0 3 * * 7", "Sunday is 0 to Kubeflow, not 7"),
        ("0 3 * * 1-7", "Sunday is 0 to Kubeflow, not 7"),
        ("0 3 L * *", "Kubeflow knows no L, W, # in a schedule"),
        ("0 3 * * 5L", "Kubeflow knows no L, W, # in a schedule"),
        ("0 3 * * 1#2", "Kubeflow knows no L, W, # in a schedule"),
        ("0 3 30 2 *", "bad day-of-month"),
    ],
)
def test_a_wrong_cron_is_refused_before_anything_is_sent(server: Kfp, osteon: Osteon, cron: str, message: str) -> None:
    done = osteon("schedule", "--cron", cron)
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert done.err.startswith(f"error: --cron '{cron}': {message}")
    assert server.asked == []


@pytest.mark.parametrize("cron", ["0 3 * * 1", "*/15 0-6 1,15 jan-jun *", "7 7 7 7 sun", "0 3 */7 * *", "17 3 * * 0"])
def test_a_cron_gets_seconds_for_kubeflow(cron: str) -> None:
    assert read_cron(cron) == f"0 {cron.upper()}"


def test_schedules_are_listed_whoever_made_them(server: Kfp, osteon: Osteon) -> None:
    assert osteon("schedules").out == "no schedule; `osteon pipeline schedule --cron …` makes one\n"
    osteon("schedule", "--cron", "0 3 * * 1")
    one = server.recurring[0]
    foreign = {"cron_schedule": {"cron": "0 30 2 ? * 2-6"}}
    server.recurring.append({**one, "display_name": "a clone", "trigger": foreign})
    hourly = {"periodic_schedule": {"interval_second": "3600"}}
    server.recurring.append({**one, "display_name": "hourly", "trigger": hourly})
    server.recurring.append({**one, "display_name": "odd", "trigger": {"cron_schedule": {"cron": "@daily"}}})
    done = osteon("schedules")
    assert (done.code, done.err) == (0, "")
    (first,) = next_times("0 0 3 * * 1", 1)
    assert done.lines[0].split() == ["schedule", "cron", "state", "next"]
    assert [" ".join(line.split()) for line in done.lines[1:]] == [
        f"a clone 30 2 ? * 2-6 active {next_times('30 2 * * 2-6', 1)[0]:%Y-%m-%d %H:%M} UTC",
        "hourly every 3600 s active ?",
        "odd @daily active ?",
        f"osteon-retraining 0 3 * * 1 active {first:%Y-%m-%d %H:%M} UTC",
    ]


# ---------------------------------------------------------------- diff


@pytest.fixture
def compared(server: Kfp, osteon: Osteon) -> list[str]:
    """The ids of two runs with other parameters."""
    server.plays = [frame("SUCCEEDED")]
    osteon("submit", "--wait", "--repository", "git@git.example:osteon.git")
    osteon("submit", "--wait", "--param", "training.epochs=3", "--revision", "v1", "--mode", "dry_run")
    return [run["run_id"] for run in server.runs]


@pytest.fixture
def mlflow(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of an empty store, and the experiment's id."""
    from components.tracking import connect

    shutil.copy(empty_store, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    return connect()


def test_diff_names_what_two_runs_were_given_otherwise_and_what_they_reached(
    server: Kfp, osteon: Osteon, compared: list[str], mlflow: Any
) -> None:
    from components.tracking import DATA, PASS

    client, experiment = mlflow
    for i, run_id in enumerate(compared):
        run = client.create_run(experiment, tags={PASS: run_id, DATA: f"md{i}"}).info.run_id
        client.log_metric(run, "evaluate.auroc", 0.8 + i / 100)
        client.log_metric(run, "evaluate.n", 120)
    done = osteon("diff", *compared)
    assert (done.code, done.err) == (0, "")
    mode = read_policy(Path("mlflow/promotion.yaml")).mode
    rows = {line.split()[0]: line.split()[1:] for line in done.lines[1:-1]}
    assert rows == {
        "training.epochs": [str(load_params(Path("params.yaml")).training.epochs), "3"],
        "repository": ["git@git.example:osteon.git"],
        "revision": ["main", "v1"],
        **({"mode": [mode, "dry_run"]} if mode != "dry_run" else {}),
        "data": ["md0", "md1"],
        "evaluate.auroc": ["0.8", "0.81"],
    }
    assert done.lines[-1].endswith(" other values are the same")
    same = osteon("diff", compared[0], compared[0])
    assert same.lines[-1].startswith("all ")


def test_diff_without_mlflow_says_so_and_shows_the_rest(
    server: Kfp, osteon: Osteon, compared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    done = osteon("diff", *compared)
    assert done.code == 0
    assert any(line.split()[0] == "training.epochs" for line in done.lines)
    (note,) = done.err.splitlines()
    assert note.startswith("note: data and figures are not compared: ")


def test_diff_of_runs_that_mlflow_does_not_know_and_of_a_deleted_version(
    server: Kfp, osteon: Osteon, compared: list[str], mlflow: Any
) -> None:
    server.runs[1]["pipeline_version_reference"] = {"pipeline_id": "p0", "pipeline_version_id": "gone"}
    done = osteon("diff", *compared)
    assert done.code == 0
    assert done.err.splitlines() == [f"note: MLflow has nothing of run {run_id}" for run_id in compared]
    (version,) = (line.split()[1:] for line in done.lines if line.startswith("version"))
    assert version == [version_of(TRAINING), "gone"]


# ---------------------------------------------------------------- noise


def test_the_library_says_nothing(server: Kfp, osteon: Osteon, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        done = osteon("submit")
    assert (len(done.lines), done.err) == (3, "")
    assert [one for one in caplog.records if one.name.startswith(("kfp", "urllib3", "root"))] == []
