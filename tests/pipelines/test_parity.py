"""Step functions, dvc.yaml and Kubeflow's components say the same, and so do the two graphs."""

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from components.promotion.step import promote
from components.steps import STEPS
from components.tasks.fold_task import one_fold
from components.tasks.step_tasks import MARK, Found, params_of_steps, read_params, share_folds
from osteon.contract import Step, describe
from osteon.params import Params, section_of
from pipelines import steps
from tests.dvc_stages import outs_of
from tests.pipelines.compiled_pipeline import Compiled, compiled

ROOT = Path(__file__).parents[2]
DVC = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]

# What differs on a cluster, and why.
LOOKED_AT = {"source"}  # films are fetched by their hash, which the text `films` names
FROM_TEXT = {"policy", "card"}  # of promote: the policy is an argument of the run, the template is in the image
SHOWN = {"page", "figures", "curves"}  # for Kubeflow's page alone
ONLY_THERE = {
    "find_films",
    "share_folds",
    "join_search",
    "report_end",
    "ask_why",
    "cross_validate_fold",
}
ONLY_HERE = {"phantoms"}  # films come from a repository instead


def component_step(name: str) -> Step:
    return describe(promote) if name == "promote" else one_fold(0) if name == "cross_validate_fold" else STEPS[name]


def every_component() -> list[str]:
    return [name for name, value in vars(steps).items() if hasattr(value, "component_spec")]


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return compiled(tmp_path_factory.mktemp("training"))


def test_every_step_is_a_component_and_nothing_else_is_but_what_is_listed() -> None:
    assert set(every_component()) == (set(STEPS) - ONLY_HERE) | ONLY_THERE | {"promote"}


@pytest.mark.parametrize("name", [*sorted(set(STEPS) - ONLY_HERE), "promote", "cross_validate_fold"])
def test_a_components_artefacts_are_the_steps_paths(name: str) -> None:
    spec, step = getattr(steps, name).component_spec, component_step(name)
    read = {key for key, artefact in spec.inputs.items() if artefact.type.startswith("system.")}
    wrote = {key for key, artefact in spec.outputs.items() if artefact.type.startswith("system.")}
    reads_films = "source" in step.inputs
    assert read - {"computed"} == set(step.inputs) - LOOKED_AT - FROM_TEXT
    assert ("computed" in read) == (name == "cross_validate")
    shown = SHOWN | {"card"} if name == "promote" else SHOWN
    assert wrote - shown == set(step.outputs)
    given = {key for key, artefact in spec.inputs.items() if not artefact.type.startswith("system.")}
    assert ("films" in given) == reads_films
    if name != "promote":
        assert given - {"films", "kept_sides"} == ({"given"} if name.endswith("_fold") else {"params"})


@pytest.mark.parametrize("name", every_component())
def test_a_component_is_an_import_and_a_call_of_three_to_six_lines(name: str) -> None:
    function = ast.parse(inspect.getsource(getattr(steps, name).python_func)).body[0]
    assert isinstance(function, ast.FunctionDef)
    doc, imported, *rest = function.body
    assert isinstance(doc, ast.Expr)
    assert isinstance(imported, ast.ImportFrom)
    assert (imported.module or "").startswith("components.")
    assert 1 <= len(rest) <= 5
    assert not [node for node in ast.walk(function) if isinstance(node, ast.If | ast.For | ast.While | ast.Try)]


def test_a_task_can_load_the_functions_where_kfp_has_no_decorators() -> None:
    code = "from pipelines.component_functions import find_films; import kfp.dsl; print(hasattr(kfp.dsl, 'component'))"
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, env={**os.environ, "_KFP_RUNTIME": "true"}, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_what_begins_a_pipeline_run_gives_what_the_component_says() -> None:
    outputs = steps.find_films.component_spec.outputs
    assert sorted(outputs) == sorted(Found._fields)
    assert set(Found._fields) - {"films", "sides", "folds"} == set(STEPS) - ONLY_HERE


@pytest.mark.parametrize("name", every_component())
def test_no_component_installs_anything(name: str) -> None:
    container = getattr(steps, name).component_spec.implementation.container
    assert container.image == steps.IMAGE
    assert "pip install" not in " ".join([*container.command, *container.args])


def test_a_step_gets_the_sections_that_dvc_tracks_with_its_stage_and_no_other() -> None:
    shared = params_of_steps(Params().model_dump_json())
    assert set(shared) == set(DVC)
    for name, text in shared.items():
        sections = YAML(typ="safe").load(text.removeprefix(MARK))
        assert list(sections) == DVC[name]["params"]
        values = read_params(text)
        for kind in STEPS[name].sections.values():
            assert section_of(values, kind) == section_of(Params(), kind)


@pytest.mark.parametrize(
    ("section", "change", "steps"),
    [("evaluation", {"resamples": 300}, ["evaluate"]), ("package", {"final": "ensemble"}, ["train"])],
)
def test_a_change_of_one_section_changes_what_those_steps_get_that_read_it(
    section: str, change: dict[str, Any], steps: list[str]
) -> None:
    before = params_of_steps(Params().model_dump_json())
    other = Params().model_copy(update={section: getattr(Params(), section).model_copy(update=change)})
    after = params_of_steps(other.model_dump_json())
    assert [name for name in before if before[name] != after[name]] == steps


def test_every_fold_gets_its_number_and_what_cross_validate_reads() -> None:
    text = params_of_steps(Params().model_dump_json())["cross_validate"]
    assert share_folds(f"3 {text}") == [f"0 {text}", f"1 {text}", f"2 {text}"]


def test_the_graph_of_dvc_yaml_is_the_pipelines_but_for_what_is_listed(training: Compiled) -> None:
    assert ("cross_validate", "train") in edges_of_dvc()
    assert edges_of_pipeline(training) == edges_of_dvc()


def edges_of_dvc() -> set[tuple[str, str]]:
    """Which stage reads what which other stage wrote; phantoms are the films, which nobody hands on."""
    maker = {out: name for name, stage in DVC.items() for out in outs_of(stage)}
    edges = {(maker[dep], name) for name, stage in DVC.items() for dep in stage["deps"] if dep in maker}
    return {(above, name) for above, name in edges if above not in ONLY_HERE}


def edges_of_pipeline(training: Compiled) -> set[tuple[str, str]]:
    """The same of the tasks, a fan-out and its collection counted as the one step that they are."""
    merged = {"cross_validate_fold": "cross_validate"}
    edges: set[tuple[str, str]] = set()
    for dag in training.dags():
        for name, task in dag["tasks"].items():
            for given in task.get("inputs", {}).get("artifacts", {}).items():
                above = origin(training, given[1])
                step = name.replace("-", "_")
                if above is not None and step in {*STEPS, *merged}:
                    edges.add((merged.get(above, above), merged.get(step, step)))
    return {(above, step) for above, step in edges if above != step}


def origin(training: Compiled, given: dict[str, Any]) -> str | None:
    """The step whose output an artefact is; a nested graph calls it by a name that says so."""
    if "taskOutputArtifact" in given:
        made = given["taskOutputArtifact"]
        channel = re.fullmatch(r"pipelinechannel--(.+)-[a-z_]+", made["outputArtifactKey"])
        return str(channel[1] if channel else made["producerTask"]).replace("-", "_")
    channel = re.fullmatch(r"pipelinechannel--(.+)-[a-z_]+", given["componentInputArtifact"])
    return channel[1].replace("-", "_") if channel else None
