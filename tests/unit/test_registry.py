"""Which model is in use: log and aliases in a real store, a process that dies between any two calls, and a race."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient

from components import tracking
from components.errors import OsteonError
from components.outputs import dvc_hash
from components.promotion.registry import (
    CHALLENGER,
    CHAMPION,
    ENTRY,
    LOG,
    MODEL,
    PREVIOUS,
    Entry,
    Registry,
    State,
    now,
    who,
)
from components.promotion.rollback import roll_back
from tests.making import packaged
from tests.unit.conftest import use_store

pytestmark = pytest.mark.xdist_group("registry")


@pytest.fixture(scope="module")
def stocked(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with three registered packages, none of them in use."""
    folder = tmp_path_factory.mktemp("stocked")
    with pytest.MonkeyPatch.context() as patch:
        use_store(folder, empty_store, patch)
        _, experiment = tracking.connect()
        registry = Registry.connect()
        for seed in (5, 6, 7):
            package = packaged(folder / f"package {seed}" / "model", seed=seed)
            with mlflow.start_run(experiment_id=experiment) as run:
                address = tracking.log_model(package)
            model = address.removeprefix("models:/")
            registry.register(dvc_hash(package), model, run.info.run_id, {"osteon.data": "abc"})
    return folder


@pytest.fixture
def registry(stocked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The same store, of this test's own; the packages lie where they were."""
    (database,) = stocked.glob("*.db")
    shutil.copyfile(database, tmp_path / database.name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / database.name}")
    monkeypatch.chdir(tmp_path)
    return Registry.connect()


def entry(registry: Registry, version: str, action: Any = "promoted", **changes: Any) -> Entry:
    state = registry.state()
    usual = {
        "before": state.last,
        "at": now(),
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
        registry.agree()
    return registry.state()


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
    registry.client.create_model_version(MODEL, str(model.source), tags={"osteon.package": package})
    assert registry.register(package, "m-any", str(model.run_id), {}) == "3"


def test_the_package_of_a_version_is_the_one_that_was_registered(
    registry: Registry, stocked: Path, tmp_path: Path
) -> None:
    folder = registry.package_of("2", tmp_path / "fetched")
    assert dvc_hash(folder) == dvc_hash(stocked / "package 6" / "model")


def test_a_package_whose_files_were_altered_or_lost(registry: Registry, stocked: Path, tmp_path: Path) -> None:
    """Both at the place where the store has it."""
    (there,) = [
        path.parent
        for path in stocked.rglob("artifacts/model/package.json")
        if dvc_hash(path.parent) == registry.tags("1")["osteon.package"]
    ]
    films = there / "network-0.onnx"
    whole = films.read_bytes()
    try:
        films.write_bytes(whole[:-1] + b"x")
        with pytest.raises(OsteonError, match=f"{MODEL}/1: its files are missing or not those that were registered"):
            registry.package_of("1", tmp_path / "altered")
        films.unlink()
        with pytest.raises(OsteonError, match=f"{MODEL}/1: its files are missing or not those that were registered"):
            registry.package_of("1", tmp_path / "missing")
        promoted(registry, "1", "2")
        with pytest.raises(OsteonError, match="its files are missing"):
            roll_back(None, "it was better")
        assert registry.agree().champion == "2"
    finally:
        films.write_bytes(whole)


def test_a_model_that_was_registered_by_hand(registry: Registry, tmp_path: Path) -> None:
    model = registry.client.get_model_version(MODEL, "1")
    registry.client.create_model_version(MODEL, str(model.source))
    with pytest.raises(OsteonError, match=f"{MODEL}/4 was registered by hand"):
        registry.package_of("4", tmp_path)
    with pytest.raises(OsteonError, match="version 4 was never in use"):
        roll_back("4", "I like it")


def test_no_such_version(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(OsteonError, match=r"MLflow's registry: .*version=9.* not found"):
        registry.package_of("9", tmp_path)


# ---------------------------------------------------------------- decisions


def test_nothing_is_in_use_at_first(registry: Registry) -> None:
    assert registry.agree() == State()
    assert registry.entries() == []
    assert registry.aliases() == {}


def test_promotions_and_their_history(registry: Registry) -> None:
    registry.point(CHALLENGER, "1")
    assert promoted(registry, "1").champion == "1"
    assert registry.aliases() == {CHAMPION: "1"}
    state = promoted(registry, "2", "3")
    assert (state.champion, state.previous) == ("3", "2")
    assert registry.aliases() == {CHAMPION: "3", PREVIOUS: "2"}
    assert [(one.version, one.was) for one in registry.entries()] == [("1", None), ("2", "1"), ("3", "2")]
    assert [one.before for one in registry.entries()[1:]] == [one.digest() for one in registry.entries()[:-1]]


def test_a_refused_one_changes_nothing_but_the_history(registry: Registry) -> None:
    promoted(registry, "1")
    registry.point(CHALLENGER, "2")
    assert registry.append(entry(registry, "2", "refused"))
    registry.agree()
    assert registry.aliases() == {CHAMPION: "1", CHALLENGER: "2"}
    assert [one.action for one in registry.entries()] == ["promoted", "refused"]


def test_the_reason_on_one_line(registry: Registry) -> None:
    assert (
        entry(registry, "1", why="auroc: low\nlatency: 9; 8 at most\nclean: no").reason() == "auroc: low (and 2 more)"
    )
    assert entry(registry, "1", why="9; 8 at most").reason() == "9; 8 at most"


def test_of_two_decisions_on_one_state_the_first_holds_and_the_other_knows(registry: Registry) -> None:
    promoted(registry, "1")
    one, other = entry(registry, "2"), entry(registry, "3")
    assert registry.append(one)
    assert not registry.append(other)
    assert registry.agree().champion == "2"
    # And life goes on.
    assert promoted(registry, "3").champion == "3"
    assert [one.version for one in registry.entries()] == ["1", "2", "3"]


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
            found = whole(*args, **kwargs)
            if len(called) == at:
                raise Died
            return found

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
    registry.point(CHALLENGER, "3")
    decision = entry(registry, "3")
    with monkeypatch.context() as patch:
        called = dying(registry.client, at, after=after, monkeypatch=patch)
        with pytest.raises(Died):
            registry.append(decision)
            registry.agree()
    assert len(called) == at
    # At every moment somebody who asks finds a model that was decided on.
    assert registry.aliases()[CHAMPION] in ("2", "3")

    again = Registry.connect()
    state = again.agree()
    if at == 1 and not after:
        assert (state.champion, state.previous) == ("2", "1")
        assert again.aliases() == {CHAMPION: "2", PREVIOUS: "1", CHALLENGER: "3"}
    else:
        assert (state.champion, state.previous) == ("3", "2")
        assert again.aliases() == {CHAMPION: "3", PREVIOUS: "2"}


def test_there_are_no_more_calls_to_die_at(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    promoted(registry, "1", "2")
    registry.point(CHALLENGER, "3")
    called = dying(registry.client, 99, after=False, monkeypatch=monkeypatch)
    registry.append(entry(registry, "3"))
    registry.agree()
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
    with pytest.raises(OsteonError, match=f"{LOG}/4 is no entry of Osteon's"):
        registry.state()


def test_an_alias_that_was_moved_by_hand_stops_until_somebody_decides(registry: Registry) -> None:
    promoted(registry, "1", "2", "3")
    registry.client.set_registered_model_alias(MODEL, CHAMPION, "1")
    with pytest.raises(OsteonError, match="is at version 1, the last decision says 3: somebody moved it"):
        registry.agree()
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
        who(),
    )
    assert roll_back("1", "again") == "version 1 is in use already"
    assert roll_back("2", "it was the scanner").endswith("version 2 is in use again, in place of 1")


@pytest.mark.parametrize(
    ("version", "why", "reason"),
    [
        (None, "better", "no version was in use before"),
        ("3", "better", "version 3 was never in use"),
        ("1", "  ", "say why"),
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
            other.carry_out()
        set_aliases(state)

    monkeypatch.setattr(registry, "_set_aliases", slowly)
    assert registry.carry_out().champion == "3"
    assert registry.aliases() == {CHAMPION: "3", PREVIOUS: "2"}
