"""The model as MLflow logs it: in an environment that has nothing but what it asks for, behind MLflow's own server."""

import base64
import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from PIL import Image

from osteon.models.package.package import example_film, open_package
from osteon.records import logged_model
from osteon.records import store as mlflow_store
from tests.making import encoded, packaged, ramp, write

# All in one worker: they share the environment and the server.
pytestmark = pytest.mark.xdist_group("served")

RULE = {"depth": 1.0, "threshold": 0.0, "films": 9, "lesions": 3, "average_precision": 0.5}
MODELS = {
    "network": {"map_learnt": True, "boxes": RULE, "max_ood_distance": None},
    "soft_vote": {"classical": ("svm",)},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store of its own, which other tests' environment does not reach."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def packages(store: Path) -> dict[str, Path]:
    return {name: packaged(store / name, **settings) for name, settings in MODELS.items()}


@pytest.fixture(scope="module")
def logged(store: Path, packages: dict[str, Path]) -> dict[str, str]:
    """Each model's address in the store."""
    _, experiment = mlflow_store.connect()
    addresses = {}
    for name, folder in packages.items():
        with mlflow.start_run(experiment_id=experiment):
            addresses[name] = logged_model.log_model(folder)
    return addresses


@pytest.fixture(scope="module")
def environment(store: Path, logged: dict[str, str]) -> Path:
    """The Python of a virtual environment with what the models ask for, and no more."""
    folder = store / "venv"
    wanted = {name: mlflow.pyfunc.get_model_dependencies(address) for name, address in logged.items()}
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    requested = [word for path in wanted.values() for word in ("-r", path)]
    result = folder / "bin" / "python"
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(result), *requested]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode and "error sending request" in done.stderr:
        pytest.skip("no package registry can be reached, so no environment can be made")
    assert done.returncode == 0, done.stderr[-3000:]
    return result


def clean(**more: str) -> dict[str, str]:
    """What a server's environment holds; this project's code is not on its path."""
    kept = ("HOME", "LANG", "MLFLOW_TRACKING_URI", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"MLFLOW_DISABLE_TELEMETRY": "true"} | more


@pytest.fixture(scope="module")
def films(store: Path) -> Path:
    folder = store / "films"
    write(folder / "day 1" / "ramp.png", encoded(ramp(), "PNG"))
    write(store / "secret.png", encoded(ramp(), "PNG"))
    (folder / "link.png").symlink_to(store / "secret.png")
    return folder


@pytest.fixture(scope="module")
def server(environment: Path, logged: dict[str, str], films: Path, store: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["models", "serve", "-m", logged["network"], "-p", str(port), "-h", "127.0.0.1", "--env-manager", "local"]
    path = f"{environment.parent}{os.pathsep}{os.environ['PATH']}"
    with (store / "server.log").open("w") as log:
        process = subprocess.Popen(
            [str(environment), "-m", "mlflow", *words],
            cwd=films,
            env=clean(PATH=path, OSTEON_FILMS=str(films)),
            stdout=log,
            stderr=log,
        )
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(240):
                try:
                    urllib.request.urlopen(f"{address}/ping", timeout=5)  # noqa: S310
                    break
                except OSError:
                    assert process.poll() is None, (store / "server.log").read_text()[-3000:]
                    time.sleep(0.5)
            yield address
        finally:
            process.terminate()
            process.wait(30)


def ask(server: str, records: list[dict[str, Any]], **params: Any) -> Any:
    body = json.dumps({"dataframe_records": records, **({"params": params} if params else {})}).encode()
    request = urllib.request.Request(  # noqa: S310
        f"{server}/invocations", body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.loads(answer.read())["predictions"]


def in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_it_answers_over_http(server: str, packages: dict[str, Path]) -> None:
    files = [encoded(ramp(), "PNG"), b"no film", encoded(ramp(60, 90), "JPEG")]
    result = ask(server, [{"film": in_base64(data)} for data in files])
    expected = open_package(packages["network"]).predict(files)
    assert [item["answer"] for item in result] == expected["answer"].tolist()
    assert [item["warnings"] for item in result] == expected["warnings"].tolist()
    assert [item["probability"] for item in result] == [
        pytest.approx(expected["probability"][0], abs=1e-6),
        None,
        pytest.approx(expected["probability"][2], abs=1e-6),
    ]
    assert result[1]["answer"] == "refused"
    assert "map" not in result[0]


def test_it_shows_where_on_request(server: str, packages: dict[str, Path]) -> None:
    (result,) = ask(server, [{"film": in_base64(example_film())}], maps=True)
    heat = np.asarray(Image.open(io.BytesIO(base64.b64decode(result["map"]))))
    expected = open_package(packages["network"]).predict([example_film()], maps=True)["map"][0]
    np.testing.assert_allclose(heat / 255, expected, atol=1 / 255)
    (refused,) = ask(server, [{"film": in_base64(b"no film")}], maps=True)
    assert refused["map"] is None
    (result, refused) = ask(server, [{"film": in_base64(data)} for data in (example_film(), b"no film")], boxes=True)
    (expected,) = open_package(packages["network"]).predict([example_film()], boxes=True)["boxes"]
    np.testing.assert_allclose(result["boxes"], expected, atol=2e-3)
    assert refused["boxes"] is None


def test_a_path_is_read_below_the_folder_of_films_and_nowhere_else(server: str, store: Path) -> None:
    (by_path,), (by_bytes,) = (
        ask(server, [{"path": "day 1/ramp.png"}]),
        ask(server, [{"film": in_base64(encoded(ramp(), "PNG"))}]),
    )
    assert by_path == by_bytes
    for path in ("../secret.png", str(store / "secret.png"), "link.png", "day 1", "none.png"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask(server, [{"path": path}])
        output = caught.value.read().decode()
        assert "no film of that path below the folder that OSTEON_FILMS names" in output
        assert str(store) not in json.loads(output).get("message", "")


def test_neither_bytes_nor_path(server: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(server, [{"film": None}])
    assert 400 <= caught.value.code < 600


LOAD = """
import sys
import mlflow, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1], model_config={"threads": 1})
with open(sys.argv[2], "rb") as file:
    answers = model.predict(pd.DataFrame({"film": [file.read()]}))
print(answers.to_json(orient="records"))
print(sorted({"keras", "tensorflow", "jax", "components.cli.main"} & set(sys.modules)))
"""


@pytest.mark.parametrize("name", MODELS)
def test_it_loads_in_an_environment_with_what_it_asks_for_alone(
    environment: Path, logged: dict[str, str], packages: dict[str, Path], films: Path, name: str
) -> None:
    film = films / "day 1" / "ramp.png"
    done = subprocess.run(
        [str(environment), "-c", LOAD, logged[name], str(film)],
        cwd=films,
        env=clean(PATH=os.environ["PATH"]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    output, imported = done.stdout.splitlines()[-2:]
    expected = open_package(packages[name]).predict([film.read_bytes()])
    assert json.loads(output)[0]["probability"] == pytest.approx(expected["probability"][0], abs=1e-5)
    assert imported == "[]"
    listed = subprocess.run([str(environment), "-m", "pip", "list"], capture_output=True, text=True, check=True).stdout
    assert "tensorflow" not in listed
    assert "osteon" not in listed
