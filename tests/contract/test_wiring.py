"""The steps' signatures, dvc.yaml, params.yaml, the code's imports and the repository's files say the same."""

import re
import shlex
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import grimp
import pytest
from ruamel.yaml import YAML

from components.steps import PROMOTE, STEPS
from osteon.contract import Step
from osteon.params import Params, Section, flatten, layout_names, load_params, section_of
from tests.dvc_stages import outs_of

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "infra/requirements-cpu.lock", "infra/requirements-gpu.lock")
SPINE = {
    *("errors", "hash_cache", "sqlite_size", "redaction", "params", "contract", "environment", "files", "progress"),
    *(
        "records",
        "records.store",
        "records.lineage",
        "records.runs",
        "records.pipeline_run",
        "records.retries",
        "models.networks.backend",
    ),
}


def read_yaml(name: str) -> Any:
    return YAML(typ="safe").load((ROOT / name).read_text(encoding="utf-8"))


DVC = read_yaml("dvc.yaml")
IN_ORDER = list(STEPS.values())
# `${data.root}` stands for the folder with the films.
CODE = ("osteon/", "components/")
REFERENCE = re.compile(r'"?\$\{([\w.]+)\}"?')


def filled(text: str) -> str:
    params = flatten(load_params(ROOT / "params.yaml"))
    return REFERENCE.sub(lambda result: str(params[result[1]]), text)


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


# ---------------------------------------------------------------- params.yaml


def test_the_parameter_files_values_are_the_defaults() -> None:
    assert load_params(ROOT / "params.yaml") == Params()


def test_the_parameter_file_has_every_section_in_the_codes_order() -> None:
    assert list(read_yaml("params.yaml")) == list(Params.model_fields)


@pytest.mark.parametrize("step", IN_ORDER, ids=lambda step: step.name)
def test_every_key_is_explained_or_named_after_what_it_is(step: Step) -> None:
    for kind in step.sections.values():
        for key, field in kind.model_fields.items():
            deeper = isinstance(field.annotation, type) and issubclass(field.annotation, Section)
            assert field.description or deeper, f"{step.name}: {key} has no description"


# ---------------------------------------------------------------- dvc.yaml and the steps


def test_every_stage_is_a_step_and_every_step_a_stage_in_the_same_order() -> None:
    assert list(DVC["stages"]) == list(STEPS)


@pytest.mark.parametrize("step", IN_ORDER, ids=lambda step: step.name)
def test_a_stages_command_deps_and_outs_are_the_steps_inputs_and_outputs(step: Step) -> None:
    stage = DVC["stages"][step.name]
    program, subcommand, *words = shlex.split(filled(stage["cmd"]))
    assert (program, subcommand) == ("osteon", step.name)
    options = {name.removeprefix("--"): value for name, value in zip(words[::2], words[1::2], strict=True)}
    assert list(options) == [*step.inputs, *step.outputs]

    deps = [filled(dep) for dep in stage["deps"]]
    assert [dep for dep in deps if not dep.startswith(CODE)] == [options[name] for name in step.inputs]
    assert outs_of(stage) == [options[name] for name in step.outputs]
    assert stage["params"] == [section_of(Params(), kind)[0] for kind in step.sections.values()]
    assert stage["params"][1:] == [argument for argument in step.sections if argument != "params"]


def test_promote_is_no_stage_and_reads_by_default_what_the_stages_write() -> None:
    made = {out for stage in DVC["stages"].values() for out in outs_of(stage)}
    for name, mark in PROMOTE.inputs.items():
        if mark.param:
            assert mark.param in flatten(Params()), name
        else:
            assert mark.default in made or mark.default in tracked(), name
    assert PROMOTE.name not in STEPS
    (decision,) = PROMOTE.outputs.values()
    assert decision.default not in made


def test_every_reference_to_a_parameter_is_quoted_in_the_command() -> None:
    """A folder's name may hold spaces."""
    for name, stage in DVC["stages"].items():
        assert stage["cmd"].count("${") == stage["cmd"].count('"${'), name


def test_every_input_is_another_stages_output_or_the_users_folder() -> None:
    made: list[str] = []
    for stage in DVC["stages"].values():
        for dep in stage["deps"]:
            assert dep.startswith(CODE) or dep in made or dep == "${data.root}"
        made += outs_of(stage)
    assert len(made) == len(set(made))
    assert Params().data.root in made


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("osteon", "components")


@pytest.mark.parametrize("step", IN_ORDER, ids=lambda step: step.name)
def test_a_stage_depends_on_all_code_that_its_step_can_reach(step: Step, imports: grimp.ImportGraph) -> None:
    """A changed file runs the steps again that use it, and no other; the spine is what all share."""
    module = step.function.__module__
    spine = {"osteon", "components", *(f"osteon.{name}" for name in SPINE)}
    reached = {file_of(name) for name in (imports.find_upstream_modules(module) | {module}) - spine}
    named = [Path(dep) for dep in DVC["stages"][step.name]["deps"] if dep.startswith(CODE)]
    page = Path("osteon/pages/page.html.j2")
    renders = page.with_name("page.py") in reached  # the template is no import
    assert any(dep in (page, page.parent) for dep in named) == renders
    named = [dep for dep in named if dep != page]

    def covers(dep: Path, file: Path) -> bool:
        return dep == file or dep in file.parents

    forgotten = [str(file) for file in reached if not any(covers(dep, file) for dep in named)]
    assert not [file for file in forgotten if (ROOT / file).stat().st_size], f"not in the deps: {forgotten}"
    assert not [dep for dep in named if not any(covers(dep, file) for file in reached)], "in the deps, never imported"


def file_of(module: str) -> Path:
    path = Path(*module.split("."))
    return path / "__init__.py" if (ROOT / path).is_dir() else path.with_suffix(".py")


def test_what_dvc_plots_names_exists_after_evaluate() -> None:
    stage = next(stage for stage in DVC["stages"].values() if "reports/evaluation" in outs_of(stage))
    (folder,) = outs_of(stage)
    for plot in DVC["plots"]:
        (path,) = plot
        assert path.startswith(f"{folder}/plots/")
    assert DVC["metrics"] == [f"{folder}/metrics.json"]


def test_the_lock_belongs_to_this_pipeline() -> None:
    """dvc.lock in the repository is that of the defaults: what a fresh clone ends up with."""
    lock = read_yaml("dvc.lock")["stages"]
    assert list(lock) == list(STEPS)
    for name, stage in lock.items():
        (params,) = stage["params"].values()
        assert sorted(params) == sorted(DVC["stages"][name]["params"])
        for section, locked in params.items():
            assert locked == read_yaml("params.yaml")[section], f"{name}: {section}"


# ---------------------------------------------------------------- layouts


def test_a_layout_is_one_file_with_one_function() -> None:
    import importlib

    assert {
        "annotations",
        "coco",
        "dicom",
        "folders",
        "fracatlas",
        "grazpedwri",
        "manifest",
        "mura",
        "voc",
        "yolo",
    } <= set(layout_names())
    for name in layout_names():
        assert callable(importlib.import_module(f"osteon.films.layouts.{name}").read)


# ---------------------------------------------------------------- public sets


def test_every_public_set_can_be_read_and_says_who_may_use_it_how() -> None:
    from osteon.remotes.public_sets import read_sources

    sources = read_sources(ROOT / "data" / "sources.yaml")
    assert set(sources) == {"fracatlas", "grazpedwri-dx", "mura"}
    for name, source in sources.items():
        for url in (source.page, *(archive.url for archive in source.archives)):
            assert url.scheme == "https", (name, url)
        # Who may not pass a set on has terms of its own, and then nobody fetches it for you.
        assert not source.licence.startswith("LicenseRef-") or source.by_hand, name
    # The archive that figshare publishes as version 7, by the md5 it gives.
    (archive,) = sources["fracatlas"].archives
    assert archive.checksum is not None


# ---------------------------------------------------------------- what the command line loads


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(' '.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return {name.split(".")[0] for name in done.stdout.split()}


HEAVY = {"numpy", "pandas", "scipy", "sklearn", "cv2", "PIL", "matplotlib", "tensorflow", "keras", "jax", "mlflow"}
HEAVY |= {"great_expectations", "pyarrow", "pydicom", "dvc", "boto3", "botocore", "pooch"}
HEAVY |= {"kfp", "kfp_server_api", "kubernetes", "docker"}


def test_the_command_line_loads_nothing_heavy() -> None:
    assert not loaded_by("import pipelines.cli") & HEAVY


def test_only_the_steps_that_need_a_network_load_one() -> None:
    for step in ("ingestion", "preparation", "augmentation"):
        loaded = loaded_by(f"import components.{step}.step, components.{step}.run")
        assert "pandas" in loaded
        assert not loaded & {"tensorflow", "keras", "jax", "great_expectations", "mlflow"}


def test_networks_and_training_call_no_tensorflow() -> None:
    """The same code runs under JAX; what only TensorFlow has is in three small modules."""
    models = ROOT / "osteon" / "models"
    allowed = {
        models / "networks" / "devices.py",
        models / "fitting" / "fused_normalisation.py",
        models / "inference" / "grad_cam.py",
    }
    named = {
        file
        for folder in ("osteon", "components")
        for file in (ROOT / folder).rglob("*.py")
        if re.search(r"\btf\.|\btensorflow as\b", file.read_text(encoding="utf-8"))
    }
    assert named == allowed
    assert all(len(file.read_text(encoding="utf-8").splitlines()) < 80 for file in allowed)


# ---------------------------------------------------------------- the repository


def test_the_folder_mlflow_does_not_hide_the_library() -> None:
    assert not list((ROOT / "mlflow").glob("__init__.py"))
    done = subprocess.run(
        [sys.executable, "-c", "import mlflow; print(mlflow.__version__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert int(done.stdout.split(".")[0]) >= 3


def test_no_registry_host_and_no_file_that_names_one_is_in_the_repository() -> None:
    names = tracked()
    assert not [name for name in names if Path(name).name in {"uv.lock", "pylock.toml", "poetry.lock"}]
    for name in LOCKS:
        lock = (ROOT / name).read_text(encoding="utf-8")
        assert "://" not in lock
        assert "--index-url" not in lock


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_a_hash_and_a_version(name: str) -> None:
    lock = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in lock.splitlines() if line and not line.startswith("#")]
    assert len(lines) > 100
    for line in lines:
        assert re.match(r"[\w.\-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line), line[:80]


def test_every_direct_dependency_is_locked_within_its_bounds() -> None:
    import tomllib

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for text in [*project["dependencies"], *chain(*project["optional-dependencies"].values())]:
        wanted = Requirement(text)
        locked = re.findall(rf"^{re.escape(canonicalize_name(wanted.name))}==([\w.]+)", lock, re.MULTILINE)
        assert locked, text
        assert all(version in wanted.specifier for version in locked), (text, locked)


def test_no_data_models_or_machine_paths_are_in_the_repository() -> None:
    for name in tracked():
        path = ROOT / name
        assert path.suffix not in {".keras", ".h5", ".npy", ".npz", ".parquet", ".dcm", ".jpg", ".db"}, name
        assert path.stat().st_size < 1_500_000, name
        if path.suffix in {".py", ".md", ".yaml", ".toml", ".lock", ""} and path != Path(__file__):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"/work/(main|shared)|/root/|\.\./shared", text) or name == ".ci/run", name


def test_every_dependency_has_its_reason() -> None:
    import tomllib

    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for text in [*project["dependencies"], *chain(*project["optional-dependencies"].values())]:
        assert Requirement(text).name in page, text


def test_who_cites_the_project_cites_its_version() -> None:
    import tomllib

    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert read_yaml("CITATION.cff")["version"] == version
    assert f"## {version}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_sections_are_closed_and_frozen() -> None:
    for kind in (Params, *(field.annotation for field in Params.model_fields.values())):
        assert isinstance(kind, type)
        assert issubclass(kind, Section)
        assert kind.model_config["extra"] == "forbid"
        assert kind.model_config["frozen"] is True
