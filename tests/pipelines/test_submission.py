"""`osteon pipeline submit` against a server that speaks Kubeflow Pipelines: what is sent, and who says it."""

import logging
import subprocess
from pathlib import Path

import pytest

from components.promotion.policy import read_policy
from osteon.params import Params, load_params, read_one_line
from tests.pipelines.conftest import IMAGE, TRAINING, Osteon, compile_to, version_of
from tests.pipelines.kfp_server import Answer, Kfp
from tests.pipelines.workflow_nodes import Step, frame

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
    assert [(pipeline["display_name"], pipeline["name"]) for pipeline in server.pipelines] == [
        ("osteon-training", "osteon-training")
    ]
    (upload,) = server.sent("POST", "/pipelines/upload_version")
    assert upload.query == {"name": name, "pipelineid": "p0", "description": IMAGE}
    assert server.uploads == [TRAINING.read_bytes()]
    assert [request.body for request in server.sent("POST", "/experiments")] == [{"display_name": "osteon"}]
    (sent,) = (request.body for request in server.sent("POST", "/runs"))
    arguments = sent["runtime_config"].pop("parameters")
    assert sent.pop("display_name").startswith("osteon-training 20")
    assert sent == {
        "experiment_id": "e0",
        "pipeline_version_reference": {"pipeline_id": "p0", "pipeline_version_id": "v0"},
        "runtime_config": {},
    }
    params = Params.model_validate(read_one_line(arguments.pop("params"), "params"))
    assert params.training.epochs == 3
    assert params.search == load_params(Path("params.yaml")).search
    policy = read_policy(Path("mlflow/promotion.yaml"))
    assert read_one_line(arguments.pop("policy"), "policy") == policy.model_dump(mode="json")
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
    assert "sesame" not in str(server.requests)


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
    assert server.requests == []


@pytest.mark.parametrize("image", ["registry.example/osteon:v1", "registry.example/osteon", "osteon:v1@sha256:abc"])
def test_an_image_that_is_named_by_a_tag_is_refused(server: Kfp, osteon: Osteon, image: str) -> None:
    compile_to(TRAINING, "osteon-training", image)
    done = osteon("submit")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"error: {TRAINING}: the image {image} has a tag, which may move; name its digest: "
        "`osteon pipeline compile --image NAME@sha256:…`\n"
    )
    assert server.requests == []


def test_the_example_of_the_repository_is_no_pipeline_to_run(server: Kfp, osteon: Osteon) -> None:
    compile_to(TRAINING, "osteon-training", IMAGE.replace("a" * 64, "0" * 64))
    done = osteon("submit")
    assert (done.code, done.out, server.requests) == (2, "", [])
    assert done.err.startswith(
        f"error: {TRAINING}: is an example, compiled for an image that does not exist; `osteon p"
    )


def test_a_file_of_an_earlier_version_is_not_sent(server: Kfp, osteon: Osteon) -> None:
    """Its image could not read the arguments, which the run would say minutes later."""
    text = TRAINING.read_text(encoding="utf-8")
    TRAINING.write_text(f"{text}# def find_films(repository: str, revision: str, params: str, reason: str) -> str:\n")
    done = osteon("submit")
    assert (done.code, done.out, server.requests) == (2, "", [])
    assert done.err.startswith(f"error: {TRAINING}: an earlier version of Osteon compiled it; `osteon pipeline compile")


def test_no_cluster_is_named(osteon: Osteon, project: Path) -> None:
    done = osteon("status")
    assert done.code == 2
    assert done.err.startswith("error: no cluster is named; give --host or set OSTEON_KFP_HOST, such as https://")


# ---------------------------------------------------------------- who we are


def test_the_token_is_read_from_its_file_for_each_request(server: Kfp, osteon: Osteon, token: Path) -> None:
    token.write_text("sesame-1\n")
    assert osteon("submit").code == 0
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer sesame-1"}
    server.requests.clear()
    token.write_text("sesame-2\n")
    assert osteon("schedules").code == 0
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer sesame-2"}
    assert {"cookie"} & {name for request in server.requests for name in request.headers} == set()


def test_a_token_that_is_renewed_in_the_middle_is_taken(server: Kfp, osteon: Osteon, token: Path) -> None:
    token.write_text("sesame-1")
    server.plays = [
        frame("RUNNING", Step("ingest", "RUNNING")),
        frame("SUCCEEDED", Step("ingest", "SUCCEEDED")),
    ]
    server.then = lambda request: token.write_text("sesame-2") and None if "/runs/" in request.path else None
    assert osteon("submit", "--wait").code == 0
    first, second = (request.headers["authorization"] for request in server.sent("GET", "/runs/[^/]+"))
    assert (first, second) == ("Bearer sesame-1", "Bearer sesame-2")


def test_a_cookie_comes_from_the_environment_alone(
    server: Kfp, osteon: Osteon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSTEON_KFP_COOKIE", "authservice_session=sesame")
    done = osteon("submit")
    assert done.code == 0
    assert {request.headers["cookie"] for request in server.requests} == {"authservice_session=sesame"}
    assert {"authorization"} & {name for request in server.requests for name in request.headers} == set()
    assert "sesame" not in done.out + done.err
    assert "cookie" not in osteon("submit", "--help").out.lower()


@pytest.mark.parametrize(("content", "reason"), [(None, "cannot be read (FileNotFoundError)"), (" \n", "is empty")])
def test_a_token_file_without_a_token(
    server: Kfp, osteon: Osteon, token: Path, content: str | None, reason: str
) -> None:
    if content is not None:
        token.write_text(content)
    done = osteon("status")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert done.err.startswith(f"error: OSTEON_KFP_TOKEN_FILE={token}: {reason}")
    assert server.requests == []


def test_nothing_is_written_to_the_users_home(server: Kfp, osteon: Osteon, tmp_path: Path) -> None:
    assert osteon("submit", "--namespace", "anna").code == 0
    assert not (tmp_path / "home").exists()


def test_the_namespace_goes_with_all_that_is_looked_for_and_made(server: Kfp, osteon: Osteon) -> None:
    server.multi_user = True
    for words in (("submit",), ("schedule", "--cron", "0 3 * * 1"), ("schedules",), ("status",)):
        assert osteon(*words, "--namespace", "anna").code == 0, words
    assert {item["namespace"] for item in (*server.pipelines, *server.experiments)} == {"anna"}
    for path in ("/pipelines", "/experiments", "/recurringruns"):
        assert {request.query["namespace"] for request in server.sent("GET", path)} == {"anna"}


def test_where_there_are_several_users_a_namespace_is_needed(
    server: Kfp, osteon: Osteon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import kfp.client

    server.multi_user = True
    done = osteon("submit")
    assert (done.code, done.err) == (
        2,
        "error: this Kubeflow has several users; give your namespace with --namespace\n",
    )
    assert [request.path for request in server.requests] == ["/apis/v2beta1/healthz"]
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


# ---------------------------------------------------------------- nothing else is said


def test_the_library_says_nothing(server: Kfp, osteon: Osteon, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        done = osteon("submit")
    assert (len(done.lines), done.err) == (3, "")
    assert [record for record in caplog.records if record.name.startswith(("kfp", "urllib3", "root"))] == []
