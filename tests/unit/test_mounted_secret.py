"""The Kubernetes secret of a task: from its folder into variables, and nowhere else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from osteon import mounted_secret
from osteon.errors import OsteonError
from osteon.mounted_secret import KEYS, read_secret

ROOT = Path(__file__).parents[2]


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As Kubernetes mounts it: every key is a link into a folder that a link names."""
    for key in KEYS:
        monkeypatch.delenv(key, raising=False)
    folder = tmp_path / "secret"
    (folder / "..2026_11_30").mkdir(parents=True)
    (folder / "..data").symlink_to("..2026_11_30")
    return folder


def put(folder: Path, key: str, value: bytes) -> None:
    (folder / "..2026_11_30" / key).write_bytes(value)
    (folder / key).symlink_to(f"..data/{key}")


def test_each_key_becomes_the_variable_of_its_name(secret: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(secret, "MLFLOW_TRACKING_PASSWORD", b"ses ame\n")
    put(secret, "OSTEON_IDENTITY_KEY", "schlüssel".encode())
    put(secret, "AWS_ENDPOINT_URL", b"")
    read_secret(secret)
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "ses ame"  # noqa: S105
    assert os.environ["OSTEON_IDENTITY_KEY"] == "schlüssel"
    assert os.environ["AWS_ENDPOINT_URL"] == ""
    assert "OSTEON_WEBHOOK" not in os.environ
    assert caplog.messages == []


def test_the_secret_is_preferred_to_the_images_own_variable(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://image")
    put(secret, "MLFLOW_TRACKING_URI", b"http://secret")
    read_secret(secret)
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://secret"


def test_a_key_that_no_step_reads_is_named_without_its_value(secret: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(secret, "MLFLOW_TRACKING_URL", b"https://anna:sesame@mlflow.example")
    put(secret, "PATH", b"/sesame")
    before = os.environ["PATH"]
    read_secret(secret)
    assert caplog.messages == ["warning: the secret has keys that no step reads: MLFLOW_TRACKING_URL, PATH"]
    assert (os.environ["PATH"], "MLFLOW_TRACKING_URL" in os.environ) == (before, False)


def test_without_a_secret_nothing_is_done(tmp_path: Path, secret: Path) -> None:
    before = dict(os.environ)
    for folder in (tmp_path / "none", secret):
        read_secret(folder)
    assert dict(os.environ) == before


@pytest.mark.parametrize("value", [b"\xff\xfesesame", b"ses\0ame"])
def test_a_value_that_no_variable_may_have_is_refused_without_showing_it(secret: Path, value: bytes) -> None:
    put(secret, "OSTEON_WEBHOOK", value)
    with pytest.raises(OsteonError, match="OSTEON_WEBHOOK: the secret ") as refused:
        read_secret(secret)
    assert "ame" not in str(refused.value).partition("OSTEON_WEBHOOK")[2]


@pytest.mark.parametrize(
    "module", ["components.tasks.step_tasks", "components.tasks.run_end", "components.retraining.find_reason"]
)
def test_whatever_a_task_imports_first_its_secret_is_read_before_mlflow(secret: Path, module: str) -> None:
    put(secret, "MLFLOW_EXPERIMENT_NAME", b"from the secret")
    code = (
        f"import os, sys; from osteon import mounted_secret; mounted_secret.MOUNTED = {str(secret)!r}\n"
        "class Watch:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'mlflow': assert os.environ['MLFLOW_EXPERIMENT_NAME'] == 'from the secret'\n"
        f"sys.meta_path.insert(0, Watch())\nimport {module}\nprint(os.environ['MLFLOW_EXPERIMENT_NAME'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "from the secret\n", done.stderr


def test_every_variable_of_the_documentation_is_a_key() -> None:
    text = (ROOT / "docs" / "kubeflow.md").read_text(encoding="utf-8")
    table = text.partition("| key | what it is |")[2].partition("\n\n")[0]
    named = {key for key in KEYS if f"`{key}`" in table}
    ended = {
        key
        for key in KEYS
        for end in ("_USERNAME", "_PASSWORD", "_TOKEN")
        if key.endswith(end) and f"`…{end}`" in table
    }
    assert named | ended == set(KEYS)
    assert mounted_secret.MOUNTED in text
