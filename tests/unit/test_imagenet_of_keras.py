"""ImageNet's weights as Keras publishes them: fetched once, by one process, or said which file to bring."""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from osteon.errors import OsteonError
from osteon.models.networks.backend import load_keras
from osteon.params import TrainingParams

keras = load_keras()

from keras.src.applications import mobilenet_v3  # noqa: E402
from keras.src.backend import config  # noqa: E402
from keras.src.legacy.saving import legacy_h5_format  # noqa: E402
from keras.src.utils import file_utils  # noqa: E402

from osteon.models.networks import applications  # noqa: E402
from osteon.models.networks.applications import APPLICATIONS, application_from_imagenet  # noqa: E402
from osteon.models.networks.architectures import build_network  # noqa: E402
from osteon.models.networks.starting_weights import load_starting_weights  # noqa: E402

pytestmark = pytest.mark.xdist_group("network mobilenetv3")


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Whatever this machine has fetched before."""
    monkeypatch.setattr(config, "_KERAS_DIR", str(tmp_path / "keras"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "keras" / "models"


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of a proxy that does this with each connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def forbid(connection: socket.socket) -> None:
    connection.recv(1000)
    connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    connection.close()


def hang_up(connection: socket.socket) -> None:
    connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("answer", [None, forbid, hang_up, lambda connection: None])
def test_weights_that_cannot_be_fetched_are_one_line(
    monkeypatch: pytest.MonkeyPatch, empty_cache: Path, answer: Callable[[socket.socket], None] | None
) -> None:
    """Nobody there, refused, hung up, silent: the file, where to put it, and the network as it was."""
    monkeypatch.setattr(applications, "SILENCE", 0.5)
    network = build_network(32, TrainingParams(network="mobilenetv3"))
    before = network.get_weights()
    with answering(answer or hang_up) as address:
        monkeypatch.setenv("https_proxy", address if answer else "http://127.0.0.1:9")
        with pytest.raises(OsteonError, match="Keras cannot fetch the weights of mobilenetv3") as refused:
            load_starting_weights(network, "imagenet")
    message = str(refused.value)
    assert "\n" not in message
    assert message.count("https://") == 1
    assert f"float_no_top_v2.h5 and put it into {empty_cache}, or anywhere and name it" in message
    assert "training.weights: PATH" in message
    assert socket.getdefaulttimeout() is None
    for now, then in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.slow
@pytest.mark.parametrize("name", APPLICATIONS)
def test_the_file_to_bring_is_the_one_that_keras_would_fetch(
    monkeypatch: pytest.MonkeyPatch, empty_cache: Path, name: str
) -> None:
    def offline(file: str, origin: str, cache_subdir: str, file_hash: str) -> None:
        assert (Path(origin).name, cache_subdir, bool(file_hash)) == (file, empty_cache.name, True)
        raise ConnectionError(f"wanted {origin}")

    monkeypatch.setattr(file_utils, "get_file", offline)
    with pytest.raises(OsteonError) as refused:
        application_from_imagenet(name)
    wanted = str(refused.value).split("wanted ")[1].split(")")[0]
    assert f"bring the file {wanted} and put it into {empty_cache}," in str(refused.value)


@pytest.fixture(scope="module")
def brought(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as Keras publishes it, with weights of chance."""
    import h5py

    path = tmp_path_factory.mktemp("published") / Path(APPLICATIONS["mobilenetv3"].file).name
    keras.utils.set_random_seed(4)
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(
            file, applications.application_as_published("mobilenetv3", classifier=False)
        )
    return path


@pytest.mark.slow
@pytest.mark.parametrize("place", ["cache", "anywhere"])
def test_a_file_that_was_brought_is_taken_without_a_connection(
    monkeypatch: pytest.MonkeyPatch, empty_cache: Path, tmp_path: Path, brought: Path, place: str
) -> None:
    """As the message says; one with another hash is not taken from the cache."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    folder = empty_cache if place == "cache" else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(brought, folder)
    network = build_network(32, TrainingParams(network="mobilenetv3"))
    if place == "cache":
        with pytest.raises(OsteonError, match="cannot fetch the weights of mobilenetv3"):
            load_starting_weights(network, "imagenet")
        shutil.copy(brought, folder)  # Keras has deleted it
        known = hashlib.md5(brought.read_bytes(), usedforsecurity=False).hexdigest()
        monkeypatch.setitem(mobilenet_v3.WEIGHTS_HASHES, "large_224_1.0_float", ("", known))
    loaded = load_starting_weights(network, "imagenet" if place == "cache" else str(folder / brought.name))
    assert set(loaded.not_loaded) == {"finding", "map"}
    assert len(loaded.loaded) > 100


WAITING = """
import sys, time
from pathlib import Path
from osteon.models.networks.applications import _alone_in
with _alone_in(Path(sys.argv[1])):
    print("alone", time.time(), flush=True)
    time.sleep(1)
    print("done", time.time(), flush=True)
"""


@pytest.mark.slow
def test_two_processes_do_not_fetch_at_once(empty_cache: Path) -> None:
    words = [sys.executable, "-c", WAITING, str(empty_cache)]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) for _ in range(2)]
    spans = sorted([float(line.split()[1]) for line in process.communicate()[0].splitlines()] for process in both)
    assert spans[0][1] <= spans[1][0]


def test_a_folder_that_cannot_be_written_is_no_error_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    with applications._alone_in(tmp_path / "file" / "models"):
        pass
