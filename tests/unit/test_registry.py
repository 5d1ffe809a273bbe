"""Which model is in use: log and aliases in a real store, a process that dies between any two calls, and a race."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient

from components.promotion.rollback import roll_back
from osteon.errors import OsteonError, UnreachableError
from osteon.files import dvc_hash
from osteon.models.package.package import INFO, hashes_of, onnx_file
from osteon.records import logged_model
from osteon.records import store as mlflow_store
from osteon.records.registry import (
    CHALLENGER,
    CHAMPION,
    ENTRY,
    LOG,
    MODEL,
    PACKAGE,
    PREVIOUS,
    Entry,
    Registry,
    State,
    current_user,
    timestamp,
)
from tests.command import osteon, waiting
from tests.making import failing_graph, packaged
from tests.stores import SharedServer, Store, free_port, line_to
from tests.threads import in_threads

pytestmark = pytest.mark.xdist_group("registry")

NETWORK = onnx_file(0)


@pytest.fixture(scope="module")
def stocked(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three packages, which are registered in the store; none of them is in use."""
    folder = tmp_path_factory.mktemp("stocked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store.begin(folder))
        patch.chdir(folder)
        _, experiment = mlflow_store.connect()
        registry = Registry.connect()
        for seed in (5, 6, 7):
            package = packaged(folder / f"package {seed}" / "model", seed=seed)
            with mlflow.start_run(experiment_id=experiment) as run:
                address = logged_model.log_model(package)
            model = address.removeprefix("models:/")
            registry.register(dvc_hash(package), model, run.info.run_id, {"osteon.data": "abc"})
    store.stocked()
    return folder


@pytest.fixture
def registry(store: Store, stocked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The same store, of this test's own; the logged models lie where they were."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.again(tmp_path))
    monkeypatch.chdir(tmp_path)
    return Registry.connect()


@contextmanager
def broken(registry: Registry, store: Store, version: str, package: Path, folder: Path, kind: str) -> Iterator[None]:
    """A version of which files and hash are those of a package that is broken in some way."""
    shutil.copytree(package, folder)
    info = json.loads((folder / INFO).read_text(encoding="utf-8"))
    if kind == "a package of another time":
        info["tomorrow"] = 2
    else:
        (folder / NETWORK).write_bytes(BROKEN[kind]((folder / NETWORK).read_bytes()))
        info["files"] = hashes_of(folder)
    (folder / INFO).write_text(json.dumps(info), encoding="utf-8")
    model = model_of(registry, version)
    registry.client.set_model_version_tag(MODEL, version, PACKAGE, dvc_hash(folder))
    try:
        for name in (NETWORK, INFO):
            store.put(model, name, (folder / name).read_bytes())
        yield
    finally:
        for name in (NETWORK, INFO):
            store.put(model, name, (package / name).read_bytes())


def entry(registry: Registry, version: str, action: Any = "promoted", **changes: Any) -> Entry:
    state = registry.state()
    usual = {
        "before": state.last,
        "at": timestamp(),
        "who": "a test",
        "action": action,
        "version": version,
        "was": state.champion,
        "why": "so it is",
    }
    return Entry(**(usual | changes))


def promoted(registry: Registry, *versions: str) -> State:
    for version in versions:
        assert registry.append(entry(registry, version))
        registry.reconcile_aliases()
    return registry.state()


def model_of(registry: Registry, version: str) -> str:
    """The id of the logged model behind a version."""
    return str(registry.client.get_model_version(MODEL, version).source).removeprefix("models:/")


# ---------------------------------------------------------------- versions


def test_a_package_is_one_version_however_often_it_is_registered(registry: Registry, stocked: Path) -> None:
    package = dvc_hash(stocked / "package 6" / "model")
    tags = registry.tags("2")
    assert tags["osteon.package"] == package
    assert tags["osteon.data"] == "abc"
    model = registry.client.get_model_version(MODEL, "2")
    assert registry.register(package, "m-any", str(model.run_id), {}) == "2"
    assert len(registry.client.search_model_versions(f"name = '{MODEL}'")) == 3


def test_a_package_that_was_registered_twice_at_once_is_the_first_of_both(registry: Registry) -> None:
    model, package = registry.client.get_model_version(MODEL, "3"), registry.tags("3")["osteon.package"]
    registry.client.create_model_version(
        MODEL, str(model.source), model_id=model_of(registry, "3"), tags={"osteon.package": package}
    )
    assert registry.register(package, "m-any", str(model.run_id), {}) == "3"


def test_the_package_of_a_version_is_the_one_that_was_registered(
    registry: Registry, stocked: Path, tmp_path: Path
) -> None:
    folder = registry.package_of("2", tmp_path / "fetched")
    assert dvc_hash(folder) == dvc_hash(stocked / "package 6" / "model")


def test_a_package_whose_files_were_altered_or_lost(registry: Registry, store: Store, tmp_path: Path) -> None:
    """Both at the place where the store has it."""
    model, name = model_of(registry, "1"), NETWORK
    refused = f"{MODEL}/1: its files are missing or differ from those that were registered"
    whole = store.take(model, name)
    try:
        with pytest.raises(OsteonError, match=refused):
            registry.package_of("1", tmp_path / "missing")
        promoted(registry, "1", "2")
        with pytest.raises(OsteonError, match="its files are missing"):
            roll_back(None, "it was better")
        assert registry.reconcile_aliases().champion == "2"
        store.put(model, name, whole[:-1] + b"x")
        with pytest.raises(OsteonError, match=refused):
            registry.package_of("1", tmp_path / "altered")
    finally:
        store.put(model, name, whole)


def test_a_model_that_was_registered_by_hand(registry: Registry, tmp_path: Path) -> None:
    model = model_of(registry, "1")
    registry.client.create_model_version(MODEL, f"models:/{model}", model_id=model)
    with pytest.raises(OsteonError, match=f"{MODEL}/4 was registered by hand"):
        registry.package_of("4", tmp_path)
    with pytest.raises(OsteonError, match="version 4 was never in use"):
        roll_back("4", "I like it")


def test_no_such_version(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(OsteonError, match=r"MLflow's registry: .*version=9.* not found"):
        registry.package_of("9", tmp_path)


# ---------------------------------------------------------------- decisions


def test_nothing_is_in_use_at_first(registry: Registry) -> None:
    assert registry.reconcile_aliases() == State()
    assert registry.entries() == []
    assert registry.aliases() == {}


def test_promotions_and_their_history(registry: Registry) -> None:
    registry.set_alias(CHALLENGER, "1")
    assert promoted(registry, "1").champion == "1"
    assert registry.aliases() == {CHAMPION: "1"}
    state = promoted(registry, "2", "3")
    assert (state.champion, state.previous) == ("3", "2")
    assert registry.aliases() == {CHAMPION: "3", PREVIOUS: "2"}
    assert [(entry.version, entry.was) for entry in registry.entries()] == [("1", None), ("2", "1"), ("3", "2")]
    assert [entry.before for entry in registry.entries()[1:]] == [entry.digest() for entry in registry.entries()[:-1]]


def test_a_refused_one_changes_nothing_but_the_history(registry: Registry) -> None:
    promoted(registry, "1")
    registry.set_alias(CHALLENGER, "2")
    assert registry.append(entry(registry, "2", "refused"))
    registry.reconcile_aliases()
    assert registry.aliases() == {CHAMPION: "1", CHALLENGER: "2"}
    assert [entry.action for entry in registry.entries()] == ["promoted", "refused"]


def test_the_reason_on_one_line(registry: Registry) -> None:
    assert (
        entry(registry, "1", why="auroc: low\nlatency: 9; 8 at most\nclean: no").reason() == "auroc: low (and 2 more)"
    )
    assert entry(registry, "1", why="9; 8 at most").reason() == "9; 8 at most"


def test_of_two_decisions_on_one_state_the_first_holds_and_the_other_knows(registry: Registry) -> None:
    promoted(registry, "1")
    second, other = entry(registry, "2"), entry(registry, "3")
    assert registry.append(second)
    assert not registry.append(other)
    assert registry.reconcile_aliases().champion == "2"
    # And life goes on.
    assert promoted(registry, "3").champion == "3"
    assert [entry.version for entry in registry.entries()] == ["1", "2", "3"]


def test_a_long_reason_is_kept_whole(registry: Registry) -> None:
    """Many rules can fail at once; only the description, which a person sees on MLflow's page, is cut."""
    why = "\n".join(
        f"subgroup view {number}: sensitivity 0.000 of 12 fractured films; 0.1 or more – ≥" for number in range(900)
    )
    assert len(why) > 50_000
    assert registry.append(entry(registry, "1", "refused", why=why))
    assert registry.entries()[0].why == why
    assert len(str(registry.client.get_model_version(LOG, "1").description)) == 5000
    with pytest.raises(OsteonError, match=r"MLflow's registry: .*exceeds the maximum length"):
        registry.append(entry(registry, "1", "refused", why=2 * why))
    assert len(registry.entries()) == 1


def test_a_log_of_many_pages(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow gives 10,000 versions a page, the one changed last first."""
    promoted(registry, "1", "2", "3", "1", "2")
    registry.client.set_model_version_tag(LOG, "2", "seen", "yes")
    by_page = partial(registry.client.search_model_versions, max_results=2)
    monkeypatch.setattr(registry.client, "search_model_versions", by_page)
    assert [entry.version for entry in registry.entries()] == ["1", "2", "3", "1", "2"]


def test_an_alias_that_is_new_is_set_by_several_at_once(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("osteon.records.registry.translate_errors", nullcontext)  # it is not for threads
    for number in range(5):
        in_threads(4, lambda alias=f"pilot{number}": registry.set_alias(alias, "2"))
    assert registry.aliases() == {f"pilot{number}": "2" for number in range(5)}


@pytest.mark.slow
@pytest.mark.parametrize("store", ["sqlite"], indirect=True)  # with a server: test_two_promotions_at_once
def test_two_processes_that_decide_the_same_at_once(registry: Registry, tmp_path: Path) -> None:
    """In one second, by one person, for one reason: still only one of them decided."""
    promoted(registry, "1", "2")
    words = ["rollback", "--why", "it misses wrists"]
    both = sorted(waiting(tmp_path, words, words, OSTEON_WHO="ada").go())
    assert [code for code, _, _ in both] == [0, 2], both
    assert both[0][1] == f"{MODEL} version 1 is in use again, in place of 2\n"
    assert both[1][2].splitlines()[-1] == (
        "error: another decision was made at the same time; look at osteon registry history and run the command again"
    )
    assert [entry.action for entry in registry.entries()] == ["promoted", "promoted", "rolled back"]
    assert registry.aliases() == {CHAMPION: "1", PREVIOUS: "2"}


# ---------------------------------------------------------------- a process that dies

WRITING = (
    "create_model_version",
    "set_registered_model_alias",
    "delete_registered_model_alias",
)


class Died(BaseException):
    """As by kill -9: nothing catches it."""


def dying(client: MlflowClient, at: int, *, after: bool, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the process die at a call that writes, before or after it has its effect; the calls that were made."""
    called: list[str] = []

    def wrapped(name: str, whole: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            called.append(name)
            if len(called) == at and not after:
                raise Died
            result = whole(*args, **kwargs)
            if len(called) == at:
                raise Died
            return result

        return call

    for name in WRITING:
        monkeypatch.setattr(client, name, wrapped(name, getattr(client, name)))
    return called


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_killed_between_any_two_calls_it_is_the_old_state_or_the_new(
    registry: Registry, at: int, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted(registry, "1", "2")
    registry.set_alias(CHALLENGER, "3")
    decision = entry(registry, "3")
    with monkeypatch.context() as patch:
        called = dying(registry.client, at, after=after, monkeypatch=patch)
        with pytest.raises(Died):
            registry.append(decision)
            registry.reconcile_aliases()
    assert len(called) == at
    # At every moment somebody who asks finds a model that was decided on.
    assert registry.aliases()[CHAMPION] in ("2", "3")

    again = Registry.connect()
    state = again.reconcile_aliases()
    if at == 1 and not after:
        assert (state.champion, state.previous) == ("2", "1")
        assert again.aliases() == {CHAMPION: "2", PREVIOUS: "1", CHALLENGER: "3"}
    else:
        assert (state.champion, state.previous) == ("3", "2")
        assert again.aliases() == {CHAMPION: "3", PREVIOUS: "2"}


def test_there_are_no_more_calls_to_die_at(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    promoted(registry, "1", "2")
    registry.set_alias(CHALLENGER, "3")
    called = dying(registry.client, 99, after=False, monkeypatch=monkeypatch)
    registry.append(entry(registry, "3"))
    registry.reconcile_aliases()
    assert len(called) == 4


# ---------------------------------------------------------------- what somebody changed


@pytest.mark.parametrize("changed", ["1", "2"])
def test_an_entry_that_was_rewritten_is_noticed(registry: Registry, changed: str) -> None:
    promoted(registry, "1", "2", "3")
    text = registry.client.get_model_version(LOG, changed).tags[ENTRY]
    registry.client.set_model_version_tag(LOG, changed, ENTRY, json.dumps(json.loads(text) | {"why": "better"}))
    with pytest.raises(OsteonError, match=rf"{LOG}/{int(changed) + 1} does not follow .*: the log was changed"):
        registry.state()


def test_an_entry_that_was_taken_out_or_is_none_is_noticed(registry: Registry) -> None:
    promoted(registry, "1", "2", "3")
    registry.client.delete_model_version(LOG, "2")
    with pytest.raises(OsteonError, match=f"{LOG}/3 does not follow"):
        registry.state()
    registry.client.create_model_version(LOG, f"models:/{MODEL}/1")
    registry.client.delete_model_version(LOG, "3")
    with pytest.raises(OsteonError, match=f"{LOG}/4 is not an entry of Osteon's"):
        registry.state()


def test_an_alias_that_was_moved_by_hand_stops_until_somebody_decides(registry: Registry) -> None:
    promoted(registry, "1", "2", "3")
    registry.client.set_registered_model_alias(MODEL, CHAMPION, "1")
    with pytest.raises(OsteonError, match="is at version 1, the last decision says 3: somebody moved it"):
        registry.reconcile_aliases()
    assert roll_back("1", "3 misses wrists") == f"{MODEL} version 1 is in use again, in place of 3"
    assert registry.aliases() == {CHAMPION: "1", PREVIOUS: "3"}


# ---------------------------------------------------------------- back


def test_back_and_forth(registry: Registry) -> None:
    promoted(registry, "1", "2")
    assert roll_back(None, "it misses wrists") == f"{MODEL} version 1 is in use again, in place of 2"
    assert registry.aliases() == {CHAMPION: "1", PREVIOUS: "2"}
    last = registry.entries()[-1]
    assert (last.action, last.version, last.was, last.why, last.who) == (
        "rolled back",
        "1",
        "2",
        "it misses wrists",
        current_user(),
    )
    assert roll_back("1", "again") == "version 1 is in use already"
    assert roll_back("2", "it was the scanner").endswith("version 2 is in use again, in place of 1")


@pytest.mark.parametrize(
    ("version", "why", "reason"),
    [
        (None, "better", "no version was in use before"),
        ("3", "better", "version 3 was never in use"),
        ("99", "better", "version 99 was never in use"),
        ("abc", "better", "version abc was never in use"),
        ("1", "  ", "give a reason"),
    ],
)
def test_back_to_where_there_is_nothing(registry: Registry, version: str | None, why: str, reason: str) -> None:
    promoted(registry, "1")
    with pytest.raises(OsteonError, match=reason):
        roll_back(version, why)


def test_a_decision_that_is_made_while_the_aliases_are_set_is_followed_too(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted(registry, "1")
    assert registry.append(entry(registry, "2"))
    other, set_aliases = Registry.connect(), registry._set_aliases

    def slowly(state: State) -> None:
        if state.champion == "2":
            assert other.append(entry(other, "3"))
            other.apply_log()
        set_aliases(state)

    monkeypatch.setattr(registry, "_set_aliases", slowly)
    assert registry.apply_log().champion == "3"
    assert registry.aliases() == {CHAMPION: "3", PREVIOUS: "2"}


def test_back_where_nothing_was_ever_in_use(registry: Registry) -> None:
    with pytest.raises(OsteonError, match="no version was in use before"):
        roll_back(None, "better")
    with pytest.raises(OsteonError, match="version 1 was never in use"):
        roll_back("1", "better")
    assert registry.entries() == []


BROKEN = {
    "a network that does not load": lambda data: b"no network",
    "a network that fails when it is asked": failing_graph,
    "a package of another time": None,
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_version_that_was_registered_so_and_cannot_answer(
    registry: Registry, store: Store, stocked: Path, tmp_path: Path, kind: str
) -> None:
    """Its files are those that were registered, and no model."""
    promoted(registry, "1", "2")
    with broken(registry, store, "1", stocked / "package 5" / "model", tmp_path / "broken", kind):
        with pytest.raises(OsteonError, match=f"{MODEL}/1 cannot answer and is not put into use: ") as caught:
            roll_back(None, "it was better")
        assert str(tmp_path) not in str(caught.value)
    assert registry.aliases() == {CHAMPION: "2", PREVIOUS: "1"}


# ---------------------------------------------------------------- what goes away

on_a_server = pytest.mark.parametrize("store", ["server"], indirect=True)


@on_a_server
def test_a_server_that_goes_away_at_any_call_leaves_the_old_state_or_the_new(
    registry: Registry, store: SharedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call does not arrive, or it does and its answer is lost."""
    promoted(registry, "1", "2")
    registry.set_alias(CHALLENGER, "3")
    store.postgres.keep("decided")
    decision = entry(registry, "3")

    def decide() -> None:
        registry.append(decision)
        registry.reconcile_aliases()

    with line_to(store.server.address) as line:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", line.address.replace("://", "://ada:sesame@"))
        registry = Registry.connect()
        line.cut(10**6)
        decide()
        calls = line.said
        assert len([call for call in calls if not call.startswith("GET")]) == 4
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        outcomes = set()
        for number, call in enumerate(calls):
            for heard in {False, not call.startswith("GET")}:
                store.postgres.restore("decided")
                line.cut(number, heard=heard)
                with pytest.raises(UnreachableError) as caught:
                    decide()
                line.mend()
                message = str(caught.value)
                assert f"the MLflow server {line.address} no longer responds (" in message
                assert "sesame" not in message
                assert len(message.splitlines()) == 1
                assert registry.aliases()[CHAMPION] in ("2", "3")
                state = registry.reconcile_aliases()
                new = number > 0 or heard
                assert (state.champion, state.previous) == (("3", "2") if new else ("2", "1")), (call, heard)
                aliases = registry.aliases()
                assert (aliases[CHAMPION], aliases[PREVIOUS]) == (state.champion, state.previous)
                assert (CHALLENGER in aliases) != new
                outcomes.add(new)
        assert outcomes == {False, True}


@on_a_server
def test_an_answer_that_is_lost_and_asked_for_again_is_one_decision(
    registry: Registry, store: SharedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow itself sends the entry again, and the log has it twice."""
    promoted(registry, "1")
    with line_to(store.server.address) as line:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", line.address)
        registry = Registry.connect()
        decision = entry(registry, "2")
        line.cut(0, heard=True, once=True)
        assert registry.append(decision)
        assert len(registry.client.search_model_versions(f"name = '{LOG}'")) == 3
        assert registry.apply_log().champion == "2"
        assert [entry.version for entry in registry.entries()] == ["1", "2"]
        assert promoted(registry, "3").previous == "2"


@on_a_server
def test_a_server_that_is_killed_in_the_middle_and_comes_back(
    registry: Registry, store: SharedServer, tmp_path: Path
) -> None:
    promoted(registry, "1", "2")
    address = store.server.address.replace("://", "://ada:sesame@")
    rollback = waiting(
        tmp_path,
        ["rollback", "--why", "it misses wrists"],
        MLFLOW_TRACKING_URI=address,
        MLFLOW_HTTP_REQUEST_MAX_RETRIES="1",
    )
    store.server.kill()
    try:
        started = time.monotonic()
        ((code, out, stderr),) = rollback.go()
        assert time.monotonic() - started < 30
    finally:
        store.server.start()
    assert (code, out) == (2, "")
    (line,) = stderr.splitlines()
    assert line.startswith(f"error: the MLflow server {store.server.address} no longer responds (")
    assert line.endswith("run the command again when it does; nothing is left half done")
    assert registry.reconcile_aliases().champion == "2"
    assert roll_back(None, "it misses wrists").endswith("version 1 is in use again, in place of 2")


@on_a_server
def test_artifacts_that_cannot_be_reached(
    registry: Registry, store: SharedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 is gone, behind a server that is there: nothing is known of the package, so nothing is decided."""
    promoted(registry, "1", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with store.without_s3():
        with pytest.raises(UnreachableError, match=f"{MODEL}/1: its files cannot be fetched ") as caught:
            roll_back(None, "it was better")
        assert len(str(caught.value).splitlines()) == 1
        assert registry.reconcile_aliases().champion == "2"
    assert roll_back(None, "it was better").endswith("version 1 is in use again, in place of 2")


@on_a_server
def test_a_decision_that_cannot_be_fetched(
    registry: Registry, store: SharedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = registry.client.get_model_version(MODEL, "1").run_id
    registry.client.log_text(run, "{}", "decision/decision.json")
    assert registry.append(entry(registry, "1", run=run))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with (
        store.without_s3(),
        pytest.raises(UnreachableError, match=f"^the decision on {MODEL}/1 cannot be fetched .*; try again$"),
    ):
        registry.decision_of("1", tmp_path)
    assert not list(tmp_path.glob("*.json"))
    assert registry.decision_of("1", tmp_path)
    assert (tmp_path / "decision.json").read_text() == "{}"


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_nobody_listens(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ada:sesame@127.0.0.1:{port}")
    started = time.monotonic()
    done = osteon(tmp_path, "rollback", "--why", "it misses wrists")
    assert time.monotonic() - started < 60
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: the MLflow server http://127.0.0.1:{port} does not answer (")
    assert line.endswith("check MLFLOW_TRACKING_URI, or unset it to use a local file")
