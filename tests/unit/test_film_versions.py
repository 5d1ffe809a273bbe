"""Films by their hash: from a repository on this disk, from a private one, from S3; and what can be wrong."""

import http.server
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from osteon.errors import OsteonError, UnreachableError
from osteon.files import dvc_hash
from osteon.remotes.film_versions import FilmVersion, fetched, find_version, repository_address
from tests.film_repository import FilmRepository, film_repository
from tests.s3 import error, s3_server
from tests.stores import free_port

pytestmark = pytest.mark.slow  # projects with git and DVC of their own

FILMS = {"a/1.png": b"one", "a/2.png": b"two", "b/ö 3.png": b"three"}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> FilmRepository:
    return film_repository(tmp_path_factory.mktemp("films"), FILMS)


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_revision_says_commit_hash_and_number_of_files(films: FilmRepository) -> None:
    commit = films.do("git", "rev-parse", "HEAD")
    assert films.data.endswith(".dir")
    for revision in ("main", commit, commit[:10]):
        assert find_version(str(films.folder), revision, "data/films") == FilmVersion(commit, films.data, 3)


def test_films_are_fetched_under_the_name_asked_for_and_gone_afterwards(films: FilmRepository) -> None:
    with fetched(str(films.folder), "main", films.data, "wrists") as folder:
        assert folder.name == "wrists"
        assert content(folder) == FILMS
        assert dvc_hash(folder) == films.data
    assert not folder.exists()
    assert not folder.parent.exists()


def test_a_folder_may_have_any_name(films: FilmRepository, tmp_path: Path) -> None:
    clone = tmp_path / "Röntgen films"
    films.do("git", "clone", "-q", str(films.folder), str(clone))
    with fetched(str(clone), "main", find_version(str(clone), "main", "data/films").data) as folder:
        assert content(folder) == FILMS


def test_what_was_not_committed_is_not_seen(tmp_path: Path) -> None:
    made = film_repository(tmp_path, {"1.png": b"one"})
    (made.folder / "data" / "films.dvc").unlink()
    assert find_version(str(made.folder), "main", "data/films").data == made.data


def test_films_of_a_hash_are_fetched_though_the_branch_has_gone_on(tmp_path: Path) -> None:
    made = film_repository(tmp_path, {"1.png": b"one"})
    later = made.change({"2.png": b"two"})
    assert later != made.data
    assert find_version(str(made.folder), "main", "data/films").data == later
    for data, clone in ((made.data, {"1.png": b"one"}), (later, {"1.png": b"one", "2.png": b"two"})):
        with fetched(str(made.folder), "main", data) as folder:
            assert content(folder) == clone


def test_films_that_a_stage_of_dvc_made_are_found_too(tmp_path: Path) -> None:
    """dvc.lock knows them, no .dvc file does."""
    made = film_repository(tmp_path, {"1.png": b"one"})
    (made.folder / "dvc.yaml").write_text(
        "stages:\n  draw:\n    cmd: mkdir data/drawn && echo film > data/drawn/1.png\n    outs: [data/drawn]\n"
    )
    made.do("dvc", "repro", "-q")
    made.do("dvc", "push", "-q")
    made.commit()
    result = find_version(str(made.folder), "main", "data/drawn")
    assert result.data == dvc_hash(made.folder / "data" / "drawn")


@pytest.mark.parametrize(
    ("revision", "root", "said"),
    [
        ("nowhere", "data/films", "has no revision nowhere"),
        ("main", "data/wrists", r"DVC tracks no folder data/wrists \(data.root\); `dvc add` it"),
        ("main", ".dvc", "DVC tracks no folder .dvc"),
        ("main", "/data/films", "name their folder as it lies there"),
        ("main", "../films", "name their folder as it lies there"),
    ],
)
def test_what_the_repository_does_not_have(films: FilmRepository, revision: str, root: str, said: str) -> None:
    with pytest.raises(OsteonError, match=said) as caught:
        find_version(str(films.folder), revision, root)
    assert not isinstance(caught.value, UnreachableError)  # to ask again does not help


def test_a_folder_without_git_or_dvc(tmp_path: Path, films: FilmRepository) -> None:
    with pytest.raises(OsteonError, match="cannot be cloned"):
        find_version(str(tmp_path), "main", "data/films")
    films.do("git", "init", "-q", "-b", "main", str(tmp_path / "bare"))
    bare = FilmRepository(tmp_path / "bare", "", "")
    (bare.folder / "a").write_text("a")
    bare.commit()
    with pytest.raises(OsteonError, match="has no DVC; `dvc init` there"):
        find_version(str(bare.folder), "main", "data/films")


def test_no_repository_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OSTEON_REPOSITORY", raising=False)
    with pytest.raises(OsteonError, match="no repository is named"):
        repository_address("")
    monkeypatch.setenv("OSTEON_REPOSITORY", "https://u:sesame@example.org/x.git")
    assert repository_address("") == "https://u:sesame@example.org/x.git"
    assert repository_address("given") == "given"


def test_films_that_were_never_pushed(tmp_path: Path) -> None:
    made = film_repository(tmp_path, {"1.png": b"one"})
    absent = fetched(str(made.folder), "main", "0123.dir")
    with pytest.raises(OsteonError, match=r"does not have the films 0123\.dir; `dvc push` them"), absent:
        pass


@pytest.mark.parametrize("damage", ["missing", "other"])
def test_a_film_that_the_remote_lost_or_changed(tmp_path: Path, damage: str) -> None:
    made = film_repository(tmp_path, {"1.png": b"one"})
    (kept,) = (path for path in Path(made.remote).rglob("*") if path.is_file() and path.read_bytes() == b"one")
    kept.chmod(0o600)
    if damage == "missing":
        kept.unlink()
    else:
        kept.write_bytes(b"two")
    output = "lacks a film" if damage == "missing" else "are not the requested ones"
    with pytest.raises(OsteonError, match=output), fetched(str(made.folder), "main", made.data):
        pass


def test_a_repository_without_a_remote(tmp_path: Path) -> None:
    made = film_repository(tmp_path, {"1.png": b"one"})
    made.do("dvc", "remote", "remove", "there")
    made.commit()
    with pytest.raises(OsteonError, match="no DVC remote that can be used"):
        find_version(str(made.folder), "main", "data/films")


def test_an_error_of_the_step_that_reads_them_is_its_own(films: FilmRepository) -> None:
    with pytest.raises(ZeroDivisionError), fetched(str(films.folder), "main", films.data):
        raise ZeroDivisionError


# ---------------------------------------------------------------- far away


@contextmanager
def git_server(folder: Path, user: str, password: str) -> Iterator[str]:
    """A repository as files over HTTP, for whoever knows the password; its address without it."""
    expected = f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"

    class Private(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Authorization") == expected:
                super().do_GET()
            else:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="films"')
                self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 – the library's name for it
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Private, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_private_repository_is_cloned_and_its_password_is_not_said(films: FilmRepository, tmp_path: Path) -> None:
    bare = tmp_path / "films.git"
    films.do("git", "clone", "-q", "--bare", str(films.folder), str(bare))
    FilmRepository(bare, "", "").do("git", "update-server-info")
    with git_server(tmp_path, "reader", "sesame") as place:
        result = find_version(f"http://reader:sesame@{place}/films.git", "main", "data/films")
        assert result.data == films.data
        with pytest.raises(UnreachableError, match="cannot be cloned") as caught:
            find_version(f"http://reader:mellon@{place}/films.git", "main", "data/films")
        assert "mellon" not in str(caught.value)


@pytest.mark.slow
def test_films_come_from_s3_with_the_keys_of_the_environment(tmp_path: Path) -> None:
    with s3_server() as s3:
        s3.client.create_bucket(Bucket="films")
        made = film_repository(tmp_path, FILMS, "s3://films/there", s3.endpoint)
        assert find_version(str(made.folder), "main", "data/films").files == 3
        with fetched(str(made.folder), "main", made.data) as folder:
            assert content(folder) == FILMS
        s3.gate.answers["s3:GetObject"] = error(403, "AccessDenied")
        with pytest.raises(UnreachableError, match="cannot be fetched"), fetched(str(made.folder), "main", made.data):
            pass


def test_nobody_answers() -> None:
    with pytest.raises(UnreachableError, match=r"https://127\.0\.0\.1:\d+/films\.git cannot be cloned") as caught:
        find_version(f"https://reader:sesame@127.0.0.1:{free_port()}/films.git", "main", "data/films")
    assert "sesame" not in str(caught.value)
