"""What the pipelines are given: parameters from the command line, rules, addresses without passwords."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.promotion.policy import Policy, read_policy
from osteon.errors import OsteonError
from osteon.params import Params, Range, read_one_line
from osteon.redaction import has_password
from pipelines.arguments import origin, retraining_arguments, training_arguments, with_values

ROOT = Path(__file__).parents[2]
POLICY = read_policy(ROOT / "mlflow" / "promotion.yaml")


# ---------------------------------------------------------------- --param


def test_values_take_the_place_of_those_of_the_file() -> None:
    given = ["training.epochs=3", "training.learning_rate=1e-3", "classical.svm.c=2", "data.classes.fractured=[ja, 1a]"]
    params = with_values(Params(), [*given, "training.weights=", "training.weights=''", "augmentation.mirror=false"])
    assert (params.training.epochs, params.training.learning_rate, params.classical.svm.c) == (3, 1e-3, 2.0)
    assert params.data.classes.fractured == ["ja", "1a"]
    assert params.training.weights == ""
    assert params.augmentation.mirror is False
    same = {name: getattr(params, name) for name in Params.model_fields if name not in ("training", "classical")}
    assert same["search"] == Params().search
    assert with_values(Params(), []) == Params()


def test_a_range_of_the_search_is_one_value() -> None:
    params = with_values(Params(), ["search.space.svm.c={low: 0.5, high: 8, log: true}"])
    assert params.search.space.svm["c"] == Range(low=0.5, high=8, log=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training.epoch=3", "--param: training.epoch: unknown key (did you mean epochs?); allowed: network, width, "),
        ("trainin.epochs=3", "--param: trainin: unknown key (did you mean training?); allowed: data, "),
        ("training.epochs=0", "--param: training.epochs = 0: input should be greater than or equal to 1"),
        ("training.epochs=three", "--param: training.epochs = 'three': input should be a valid integer"),
        ("training.epochs.x=3", "--param: training.epochs = {'x': 3}: input should be a valid integer"),
        ("training=3", "--param: training = 3: input should be a valid dictionary or instance of TrainingParams"),
        ("training.weights=", "--param: training.weights = None: input should be a valid string"),
        ("training.epochs", "--param training.epochs: give KEY=VALUE, such as training.epochs=3"),
        (".epochs=3", "--param .epochs: give KEY=VALUE, such as training.epochs=3"),
        ("=3", "--param : give KEY=VALUE, such as training.epochs=3"),
        ("training.epochs=[3", "--param training.epochs: the value is not valid YAML"),
        (
            "resources.training.gpu=2",
            "--param resources.training.gpu: is in the compiled file; set it in params.yaml and `osteon pipeline ",
        ),
    ],
)
def test_a_wrong_parameter_is_refused_as_in_the_file(text: str, message: str) -> None:
    with pytest.raises(OsteonError) as refused:
        with_values(Params(), [text])
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_every_wrong_parameter_has_its_line() -> None:
    with pytest.raises(OsteonError) as refused:
        with_values(Params(), ["training.epochs=0", "data.lay_out=mura"])
    assert [line.split(":")[1] for line in str(refused.value).splitlines()] == [" data.lay_out", " training.epochs = 0"]


# ---------------------------------------------------------------- the arguments


def test_the_arguments_are_strings_that_the_steps_can_read_back() -> None:
    params = with_values(Params(), ["training.epochs=3"])
    arguments = training_arguments(params, POLICY, "git@host.example:osteon.git", "v1", None, "new films")
    assert Params.model_validate(read_one_line(arguments.pop("params"), "params")) == params
    assert Policy.model_validate(read_one_line(arguments.pop("policy"), "policy")) == POLICY
    assert arguments == {
        "repository": "git@host.example:osteon.git",
        "revision": "v1",
        "mode": POLICY.mode,
        "reason": "new films",
    }
    other = retraining_arguments(params, POLICY, "", "main", "dry_run")
    assert "reason" not in other
    assert (other["mode"], other["repository"]) == ("dry_run", "")
    assert read_one_line(other["policy"], "policy")["mode"] == POLICY.mode  # the argument says otherwise, not the rules


@pytest.mark.parametrize(
    "address",
    [
        "https://anna:sesame@git.example/osteon.git",
        "https://sesame@git.example/osteon.git",
        "https://oauth2:se#sa/me@git.example/osteon.git",
        "http://:sesame@git.example/osteon",
        "ssh://git:sesame@git.example/osteon.git",
        "https://git.example/osteon.git?private_token=sesame",
        "anna:sesame@git.example/osteon.git",
    ],
)
def test_an_address_with_a_password_is_no_argument(address: str) -> None:
    with pytest.raises(OsteonError) as refused:
        training_arguments(Params(), POLICY, address, "main", None, "")
    assert str(refused.value).startswith("--repository ")
    assert "Kubernetes secret under OSTEON_REPOSITORY" in str(refused.value)
    assert "sesame" not in str(refused.value)
    assert "git.example" in str(refused.value)


@pytest.mark.parametrize(
    "address",
    ["postgresql://osteon:sesame@db.example/studies", "postgresql+psycopg2://db.example/studies?password=sesame"],
)
def test_a_database_with_a_password_is_no_argument(address: str) -> None:
    params = with_values(Params(), [f"search.storage={address}"])
    for refuse in (
        lambda: training_arguments(params, POLICY, "", "main", None, ""),
        lambda: retraining_arguments(params, POLICY, "", "main", None),
    ):
        with pytest.raises(OsteonError) as refused:
            refuse()
        assert str(refused.value).startswith("search.storage ")
        assert "under OSTEON_SEARCH_STORAGE and leave search.storage empty" in str(refused.value)
        assert "sesame" not in str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "https://git.example/osteon.git",
        "https://git.example:8443/osteon.git?depth=1",
        "git@git.example:osteon.git",
        "ssh://git@git.example:2222/osteon.git",
        "/srv/git/osteon.git",
        "postgresql://osteon@db.example/studies",
        "sqlite:///studies.db",
    ],
)
def test_an_address_without_one_is(address: str) -> None:
    assert not has_password(address)


@given(st.text(min_size=1).filter(str.strip), st.sampled_from(["https", "ssh", "postgresql"]))
def test_whatever_the_password_is_it_is_found(password: str, scheme: str) -> None:
    assert has_password(f"{scheme}://anna:{password}@git.example/osteon.git")


# ---------------------------------------------------------------- the folder's own repository


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("git@git.example:osteon.git", "git@git.example:osteon.git"),
        ("https://git.example/osteon.git", "https://git.example/osteon.git"),
        ("https://anna:sesame@git.example/osteon.git", ""),
    ],
)
def test_the_repository_is_the_folders_origin_unless_it_has_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, expected: str
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert origin(tmp_path) == ""
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert origin(tmp_path) == ""
    subprocess.run(["git", "remote", "add", "origin", address], cwd=tmp_path, check=True)
    assert origin(tmp_path) == expected
