"""Public sets, from a server of the test's own: nothing here asks the network."""

import hashlib
import io
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from osteon.errors import OsteonError
from osteon.films.layouts import read_layout
from osteon.params import DataParams
from osteon.remotes.public_sets import fetch, list_sources, read_sources
from tests.command import osteon
from tests.making import encoded, ramp

FILM = encoded(ramp(), "PNG")


@dataclass
class Answer:
    """What the server says: all of the body, or only so many bytes of it before it hangs up or waits."""

    body: bytes = b""
    status: int = 200
    only: int | None = None
    wait: bool = False


@dataclass
class Server:
    address: str
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            result.asked.append(self.path)
            answer = result.answers.get(self.path, Answer(b"nothing here", 404))
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body[: answer.only])
            self.wfile.flush()
            if answer.wait:
                closing.wait(60)

        def log_message(self, *words: Any) -> None:
            pass

    closing = threading.Event()
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    result = Server(f"http://127.0.0.1:{http.server_address[1]}")
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield result
    closing.set()
    http.shutdown()
    http.server_close()


def zipped(files: dict[str, bytes], **special: zipfile.ZipInfo) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in files.items():
            file.writestr(special.get(name, zipfile.ZipInfo(name)), data)
    return buffer.getvalue()


GOOD = zipped(
    {
        "Set/fractured/1.png": FILM,
        "Set/not fractured/röntgen 2.png": FILM,
        "__MACOSX/Set/._1.png": b"junk",
        "readme.txt": b"outside of the set",
    }
)


@pytest.fixture
def table(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of one set that the server has, in the folder where a project has it."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    server.answers["/set.zip"] = Answer(GOOD)
    write_table(Path("data/sources.yaml"), server, GOOD)
    return Path("data/sources.yaml")


def write_table(path: Path, server: Server, body: bytes = GOOD, **changes: object) -> None:
    archive = {
        "url": f"{server.address}/set.zip",
        "bytes": len(body),
        "checksum": f"md5:{hashlib.md5(body).hexdigest()}",  # noqa: S324
    }
    for name in ("url", "checksum"):
        if name in changes:
            archive[name] = changes.pop(name)  # type: ignore[assignment]
    entry = {
        "title": "A set",
        "page": "https://example.org/set",
        "licence": "CC-BY-4.0",
        "citation": "Somebody 2020",
        "films": 2,
        "layout": "folders",
        "archives": [archive],
        "inside": "Set",
        **changes,
    }
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        YAML().dump({"a-set": {name: value for name, value in entry.items() if value is not None}}, file)


def left(table: Path) -> list[str]:
    """All that lies beside the table."""
    return sorted(path.relative_to(table.parent).as_posix() for path in table.parent.rglob("*") if path != table)


# ---------------------------------------------------------------- where all goes well


def test_a_set_is_fetched_and_can_be_read(table: Path, server: Server) -> None:
    output = "\n".join(fetch("a-set"))
    assert sorted(path.relative_to("data").as_posix() for path in Path("data/a-set").rglob("*.*")) == [
        "a-set/fractured/1.png",
        "a-set/not fractured/röntgen 2.png",
    ]
    assert left(table) == [
        "a-set",
        "a-set.source.json",
        "a-set/fractured",
        "a-set/fractured/1.png",
        "a-set/not fractured",
        "a-set/not fractured/röntgen 2.png",
    ]
    rows = read_layout(Path("data/a-set"), DataParams(layout="folders"))
    assert dict(zip(rows["path"], rows["label"], strict=True)) == {
        "fractured/1.png": 1,
        "not fractured/röntgen 2.png": 0,
    }
    assert "as published" in output
    assert "CC-BY-4.0; cite Somebody 2020" in output
    assert "section data: root: data/a-set, layout: folders" in output
    assert "dvc add data/a-set" in output
    record = json.loads(Path("data/a-set.source.json").read_text())
    assert record["archives"][0]["sha256"] == hashlib.sha256(GOOD).hexdigest()
    assert record["licence"] == "CC-BY-4.0"


def test_a_second_time_there_is_nothing_to_do(table: Path, server: Server) -> None:
    list(fetch("a-set"))
    output = list(fetch("a-set"))
    assert server.asked == ["/set.zip"]
    assert output[0].startswith("data/a-set: already there, fetched 20")


def test_what_dvc_would_keep_is_what_came(table: Path) -> None:
    """The record lies beside the set and not in it: the folder's hash is that of the films."""
    list(fetch("a-set"))
    assert not [path for path in Path("data/a-set").rglob("*") if path.name.endswith((".json", ".zip"))]


def test_without_a_published_checksum_it_says_so_and_the_first_that_came_must_come_again(
    table: Path, server: Server
) -> None:
    write_table(table, server, checksum=None)
    text = table.read_text(encoding="utf-8")
    assert "checksum:\n" in text
    assert any("NOT verified" in line for line in fetch("a-set"))
    for path in sorted(Path("data/a-set").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    Path("data/a-set").rmdir()
    server.answers["/set.zip"] = Answer(zipped({"Set/fractured/1.png": FILM}))
    with pytest.raises(OsteonError, match="differs from the published file"):
        list(fetch("a-set"))
    assert left(table) == ["a-set.source.json"]


def test_the_command_fetches_and_lists(table: Path) -> None:
    listed = osteon(Path.cwd(), "fetch")
    assert listed.returncode == 0
    assert listed.stdout.split()[:6] == ["a-set", "2", "films", "0", "MB", "CC-BY-4.0"]
    done = osteon(Path.cwd(), "fetch", "a-set")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "A set: 2 films, 0 MB"
    wrong = osteon(Path.cwd(), "fetch", "aset")
    assert wrong.returncode == 2
    assert wrong.stderr == "error: data/sources.yaml has no set aset; did you mean a-set?\n"


# ---------------------------------------------------------------- where somebody says no


def refused(match: str, table: Path, leaves: list[str] | None = None) -> None:
    with pytest.raises(OsteonError, match=match) as caught:
        list(fetch("a-set"))
    assert len(str(caught.value).splitlines()) == 1
    assert left(table) == (leaves or [])


def test_another_file_than_the_published_one(table: Path, server: Server) -> None:
    server.answers["/set.zip"] = Answer(GOOD[:-1] + b"\1")
    refused(r"/set\.zip: the download differs from the published file \(md5:.*look at https://example.org/set", table)


def test_an_empty_answer(table: Path, server: Server) -> None:
    """What figshare says to whom it takes for a machine."""
    server.answers["/set.zip"] = Answer(b"", 202)
    refused("differs from the published file", table)


def test_a_file_that_is_gone(table: Path, server: Server) -> None:
    del server.answers["/set.zip"]
    refused(r"/set\.zip answered 404 Not Found; look at https://example.org/set", table)


def test_a_server_that_is_not_there(table: Path, server: Server) -> None:
    write_table(table, server, url="http://127.0.0.1:9/set.zip")
    refused(r"127\.0\.0\.1:9/set\.zip: the network says no .*HTTPS_PROXY", table)


def test_a_line_that_breaks(table: Path, server: Server) -> None:
    server.answers["/set.zip"] = Answer(GOOD, only=len(GOOD) // 2)
    refused(r"the network says no \(\w+\)", table)


def test_a_line_that_breaks_where_there_is_no_checksum(table: Path, server: Server) -> None:
    write_table(table, server, checksum=None)
    server.answers["/set.zip"] = Answer(GOOD, only=len(GOOD) // 2)
    refused(r"the network says no \(\w+\)", table)


def test_a_fetch_that_is_killed_leaves_nothing_under_the_sets_name_and_can_be_repeated(
    table: Path, server: Server
) -> None:
    server.answers["/set.zip"] = Answer(GOOD, only=100, wait=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "components.cli", "fetch", "a-set"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.DEVNULL,
    )
    since = time.monotonic()
    while not server.asked and time.monotonic() - since < 60:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not Path("data/a-set").exists()
    assert all(name.startswith(".a-set.partial") for name in left(table)), left(table)
    server.answers["/set.zip"] = Answer(GOOD)
    list(fetch("a-set"))
    assert not [name for name in left(table) if "partial" in name]


def test_a_set_that_its_licence_lets_nobody_fetch_for_you(table: Path, server: Server) -> None:
    write_table(
        table, server, archives=None, by_hand="Ask at https://example.org.", licence="LicenseRef-Ask", inside=""
    )
    refused(
        r"^a-set: its licence \(LicenseRef-Ask\) forbids Osteon to fetch it. Ask at https://example.org. "
        r"Unpack it into data/a-set, then set data.root: data/a-set and data.layout: folders$",
        table,
    )
    assert server.asked == []
    assert "by hand" in "\n".join(list_sources())


def test_a_folder_that_is_something_else_is_not_touched(table: Path, server: Server) -> None:
    Path("data/a-set").mkdir()
    Path("data/a-set/mine.txt").write_text("mine")
    refused("data/a-set is there, and is not what data/sources.yaml names", table, ["a-set", "a-set/mine.txt"])
    assert server.asked == []


def test_a_set_of_which_another_version_is_named_now_is_not_touched(table: Path, server: Server) -> None:
    list(fetch("a-set"))
    before = left(table)
    write_table(table, server, zipped({"Set/fractured/1.png": FILM}))
    refused("is not what data/sources.yaml names; move it away", table, before)


# ---------------------------------------------------------------- archives that cannot be trusted


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (zipped({"Set/1.png": FILM, "Set/../../out.png": FILM}), "'Set/../../out.png' would be written outside"),
        (zipped({"/etc/out.png": FILM}), "'/etc/out.png' would be written outside"),
        (zipped({"Set\\..\\..\\out.png": FILM}), "would be written outside"),
        (zipped({"C:/out.png": FILM}), "'C:/out.png' would be written outside"),
        (zipped({"Set/link": b"/etc/passwd"}, **{"Set/link": link("Set/link")}), "'Set/link' is a link"),
        (zipped({"Another/1.png": FILM}), "holds nothing in a folder 'Set'"),
        (b"no zip at all", "no zip file that can be read"),
        (GOOD.replace(FILM[40:60], b"x" * 20), "no zip file that can be read .*CRC"),
    ],
    ids=["up", "absolute", "backslashes", "drive", "link", "nothing", "no zip", "damaged"],
)
def test_an_archive_that_cannot_be_trusted(table: Path, server: Server, body: bytes, said: str) -> None:
    """Its publisher's checksum is right: the archive itself is bad."""
    server.answers["/set.zip"] = Answer(body)
    write_table(table, server, body)
    refused(said, table)
    assert not list(Path().rglob("out.png"))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_that_holds_a_file_twice(table: Path, server: Server) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("Set/1.png", FILM)
        file.writestr("Set/1.png", b"another")
    server.answers["/set.zip"] = Answer(buffer.getvalue())
    write_table(table, server, buffer.getvalue())
    refused(r"holds 1\.png twice", table)


def test_an_archive_for_which_there_is_no_room(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    refused(r"0 MB are needed, 0 MB are free", table)


# ---------------------------------------------------------------- the table


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"extra": 1}, "a-set.extra: Extra inputs are not permitted"),
        ({"layout": "folder"}, "there is no layout folder; there are annotations"),
        ({"by_hand": "Ask"}, "give archives, or by_hand"),
        ({"archives": None}, "give archives, or by_hand"),
        ({"checksum": "md5:12"}, "a-set.archives.0.checksum"),
        ({"licence": "free for all"}, "a-set.licence"),
    ],
)
def test_a_table_that_is_wrong(table: Path, server: Server, changes: dict[str, object], said: str) -> None:
    write_table(table, server, **changes)
    with pytest.raises(OsteonError, match=rf"^data/sources\.yaml: .*{said}"):
        read_sources()


def test_a_table_that_is_not_there_or_no_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OsteonError, match=r"data/sources\.yaml: no such file; run this in the project's folder"):
        read_sources()
    Path("data").mkdir()
    Path("data/sources.yaml").write_text("a: [")
    with pytest.raises(OsteonError, match=r"^data/sources\.yaml: "):
        read_sources()
