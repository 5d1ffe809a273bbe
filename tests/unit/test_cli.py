"""The command as a person meets it: in a process of its own."""

import json
import os
import re
import subprocess
import textwrap
from pathlib import Path

import pytest

import osteon as library
from components.steps import PROMOTE, STEPS
from osteon.contract import Input
from osteon.params import Params, Section, flatten, section_of
from tests.command import osteon, python
from tests.making import encoded, ramp, write

HEAVY = {
    "numpy",
    "pandas",
    "tensorflow",
    "keras",
    "mlflow",
    "great_expectations",
    "sklearn",
    "cv2",
    "PIL",
    "scipy",
    "dvc",
    "kfp",
    "kfp_server_api",
    "kubernetes",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a parameter file in which everything has its default."""
    (tmp_path / "params.yaml").write_text("training: {epochs: 3}\n", encoding="utf-8")
    return tmp_path


def patched(folder: Path, patch: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The command with something replaced before it starts."""
    imports = "import sys; from components.cli import main as cli; from osteon.records import runs as tracking"
    code = f"{imports}\nsys.argv[0] = 'osteon'\n{patch}\ncli.main()"
    return python(folder, "-c", code, *words)


INGEST = ("ingest", "--source", "nowhere", "--manifest", "m.parquet")

# ---------------------------------------------------------------- errors


def test_an_error_the_user_can_mend_is_one_line(project: Path) -> None:
    done = osteon(project, *INGEST)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == ("error: ingest: --source nowhere does not exist; run the step that makes it first\n")
    assert [path.name for path in project.iterdir()] == ["params.yaml"]


def test_debug_shows_where_it_came_from(project: Path) -> None:
    done = osteon(project, "--debug", *INGEST)
    assert done.returncode != 0
    assert "Traceback (most recent call last)" in done.stderr
    assert "in run_step" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("--source nowhere does not exist; run the step that makes it first")


def test_a_fault_is_not_taken_for_the_users(project: Path) -> None:
    patch = "tracking.run_step = lambda *given, **_: 1 / 0"
    done = patched(project, patch, *INGEST)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: ZeroDivisionError: division by zero",
        "This is a fault of Osteon or its machine; `osteon --debug …` shows where.",
    ]
    assert "Traceback" in patched(project, patch, "--debug", *INGEST).stderr


def test_stopped_by_a_person(project: Path) -> None:
    patch = "def stop(*given, **_): raise KeyboardInterrupt\ntracking.run_step = stop"
    done = patched(project, patch, *INGEST)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("ingest", "--sauce", "x"), "No such option: --sauce"),
        (("ingest", "--source", "x"), "Missing option '--manifest'"),
        (("ingesst",), "No such command 'ingesst'"),
        (("lineage",), "give RUN_OR_MODEL"),
    ],
)
def test_a_wrong_command_line(project: Path, words: tuple[str, ...], message: str) -> None:
    done = osteon(project, *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bad_parameter_stops_before_anything_runs(project: Path) -> None:
    (project / "films").mkdir()
    (project / "params.yaml").write_text("training: {epochs: 0}\ndata: {lay_out: mura}\n", encoding="utf-8")
    patch = "tracking.run_step = lambda *given, **_: print('it ran')"
    for words in (("ingest", "--source", "films", "--manifest", "m"), ("params",)):
        done = patched(project, patch, *words)
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.splitlines() == [
            "error: params.yaml: data.lay_out: unknown key (did you mean layout?); "
            "allowed: root, layout, classes, label_file, label_unit, columns, empty_annotation, missing_annotation, "
            "patient_pattern, cores",
            "params.yaml: training.epochs = 0: input should be greater than or equal to 1",
        ]


def test_a_dry_run_needs_no_path_and_writes_nothing(project: Path) -> None:
    write(project / "films" / "fractured" / "P1-1.png", encoded(ramp(), "PNG"))
    pattern = "data: {root: films, layout: folders, patient_pattern: '(P[0-9]+)-'}\n"
    (project / "params.yaml").write_text(pattern, encoding="utf-8")
    before = sorted(project.rglob("*"))
    done = osteon(project, "ingest", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "films 1 · fractured 1 · not fractured 0 · without a label 0",
        "patients known for 1 of 1 films (1 patient)",
        "  patient by data.patient_pattern: 1 film",
        "data.patient_pattern '(P[0-9]+)-': groups 1, matches 1 of 1 films",
        "  P1: 1 film: fractured/P1-1.png",
        "  falls out: 0 films",
        "nothing was written",
    ]
    assert sorted(project.rglob("*")) == before


def test_a_parameter_file_that_is_not_there(project: Path) -> None:
    done = osteon(project, *INGEST, "--params", "mine.yaml")
    assert done.returncode == 2
    assert done.stderr == "error: mine.yaml: no such file; run in the project's folder or name it with --params\n"


def test_params_looks_at_the_names_of_the_films_too(project: Path) -> None:
    """`make run` begins with it, before DVC, whose error names no file."""
    (project / "films").mkdir()
    (project / "films" / os.fsdecode(b"k\xfd.png")).touch()
    (project / "params.yaml").write_text("data:\n  root: films\n")
    done = osteon(project, "params")
    assert done.returncode == 2
    assert done.stderr.startswith("error: films: 1 file name is not UTF-8: k\\xfd.png; rename them")


def test_an_evaluation_that_is_not_there(project: Path) -> None:
    done = osteon(project, "summary")
    assert (done.returncode, done.stderr) == (
        2,
        "error: reports/evaluation: no evaluation there; `dvc repro` makes one\n",
    )


# ---------------------------------------------------------------- what it says


def test_a_steps_last_line_is_its_summary_and_its_parameters_come_from_the_file(project: Path) -> None:
    patch = (
        "from components.ingestion.step import IngestSummary\n"
        "def run(step, paths, params, retries):\n"
        "    print(step.name, sorted((name, str(path)) for name, path in paths.items()), params.training.epochs)\n"
        "    return IngestSummary(films=1200, positive=3, unlabelled=0, unreadable=1, patients='unknown')\n"
        "tracking.run_step = run"
    )
    done = patched(project, patch, "ingest", "--source", "a b/ü", "--manifest", "m")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "ingest [('manifest', 'm'), ('source', 'a b/ü')] 3",
        "ingest: films 1,200 · positive 3 · unlabelled 0 · unreadable 1 · patients unknown",
    ]


def test_the_help_names_every_step_and_command(project: Path) -> None:
    done = osteon(project, "--help")
    assert done.returncode == 0
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines() if line.startswith("  ")]
    explained = {line[0]: line[1] for line in lines if len(line) == 2}
    for name, step in STEPS.items():
        assert explained[name][:30] == step.help[:30]
    assert {"params", "summary", "lineage", "reproduce", "fetch", "storage", "pipeline", "--debug"} <= set(explained)


@pytest.mark.parametrize("name", STEPS)
def test_the_help_of_a_step_explains_every_path_and_every_parameter(name: str, tmp_path: Path) -> None:
    step = STEPS[name]
    done = osteon(tmp_path, name, "--help")
    assert done.returncode == 0
    text = " ".join(done.stdout.split())
    assert step.help in text
    for path, mark in step.paths.items():
        verb = "reads" if path in step.inputs else "writes"
        rest = f"[default: {mark.default}]" if mark.default else "[required]"
        if isinstance(mark, Input) and mark.or_param:
            rest = f"; left out: {mark.or_param}"
        assert f"--{path} <path> {verb}: {mark.help}{'' if rest[0] == ';' else ' '}{rest}" in text, path
    assert "--params <path> parameter file [default: params.yaml]" in text
    parts = re.split(r"^ *Keys of params\.yaml, section (\w+), with their defaults:\n", done.stdout, flags=re.MULTILINE)
    explained = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert list(explained) == [section_of(Params(), kind)[0] for kind in step.sections.values()]
    for lines, kind in zip(explained.values(), step.sections.values(), strict=True):
        for key, value in flatten(kind()).items():
            (line,) = (line for line in lines.splitlines() if line.strip().startswith(f"{key}: "))
            assert line.strip().startswith(f"{key}: {value}"), line
            assert line.endswith(f"  {meaning(kind, key)}"), line


def test_promotes_command_is_made_from_its_signature_too(project: Path) -> None:
    done = osteon(project, "promote", "--help")
    assert done.returncode == 0
    text = " ".join(done.stdout.split())
    assert " ".join(PROMOTE.description.split()) in text
    options = set(re.findall(r"--(\w+) <path>", text))
    assert options == {*PROMOTE.paths, "params"} - {"source"}  # this one is data.root of the parameter file
    for name in options - {"params"}:
        mark = PROMOTE.paths[name]
        verb = "reads" if name in PROMOTE.inputs else "writes"
        assert f"--{name} <path> {verb}: {mark.help} [default: {mark.default}]" in text


def test_promote_reads_the_folder_that_the_parameter_file_names(project: Path) -> None:
    (project / "params.yaml").write_text("data: {root: films of 2024}\n", encoding="utf-8")
    patch = (
        "from components.promotion.step import PromotionSummary\n"
        "def run(step, paths, params, retries):\n"
        "    print(sorted((name, str(path)) for name, path in paths.items()), retries.name)\n"
        "    return PromotionSummary(decision='is not good enough', version='2', rules=1, failing=['auroc: low'])\n"
        "tracking.run_step = run"
    )
    done = patched(project, patch, "promote", "--model", "m")
    paths = {name: mark.default for name, mark in PROMOTE.paths.items()} | {"source": "films of 2024", "model": "m"}
    assert done.returncode == 4, done.stderr
    assert done.stdout.splitlines() == [
        f"{sorted(paths.items())} SHORT",
        "promote: version 2 is not good enough",
        "  ✗ auroc: low",
    ]


def meaning(section: type[Section], key: str) -> str:
    """What the schema says of a key, however deep it lies."""
    schema = section.model_json_schema()
    field = schema
    for part in key.split("."):
        field = field["properties"][part]
        about = field.get("description")
        if "$ref" in field:
            field = schema["$defs"][field["$ref"].rpartition("/")[2]]
    assert about, f"{key} has no description"
    return str(about)


def test_params_prints_every_value_in_use(project: Path) -> None:
    done = osteon(project, "params")
    assert done.returncode == 0
    expected = flatten(Params.model_validate({"training": {"epochs": 3}}))
    assert done.stdout.splitlines() == [f"{key}: {value}" for key, value in expected.items()]
    assert "training.epochs: 3" in done.stdout


def test_the_schema_is_a_json_schema_that_accepts_the_projects_file(tmp_path: Path) -> None:
    validators = pytest.importorskip("jsonschema")  # comes with MLflow's and Great Expectations' dependencies
    from ruamel.yaml import YAML

    done = osteon(tmp_path, "params", "--schema")  # needs no file
    assert done.returncode == 0
    schema = json.loads(done.stdout)
    kind = validators.validators.validator_for(schema, default=validators.Draft202012Validator)
    kind.check_schema(schema)
    content = YAML(typ="safe", pure=True).load(Path("params.yaml").read_text(encoding="utf-8"))
    assert list(kind(schema).iter_errors(content)) == []
    content["training"]["epochs"] = 0
    content["extra"] = {}
    assert {error.validator for error in kind(schema).iter_errors(content)} == {"minimum", "additionalProperties"}


# ---------------------------------------------------------------- speed


def test_the_command_line_loads_nothing_heavy(tmp_path: Path) -> None:
    """`osteon --help` answers at once."""
    code = textwrap.dedent(f"""
        import sys
        import pipelines.cli
        print(sorted({HEAVY!r} & set(sys.modules)))
    """)
    done = python(tmp_path, "-c", code)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_the_installed_command_is_this_one() -> None:
    from importlib.metadata import entry_points

    (entry,) = entry_points(group="console_scripts", name="osteon")
    assert entry.value == "pipelines.cli:main"


def test_the_version_is_that_of_pyproject(tmp_path: Path) -> None:
    import tomllib

    version = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    done = osteon(tmp_path, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"osteon {version}\n", "")
    assert library.__version__ == version


def test_the_library_does_not_read_its_version_until_it_is_needed(tmp_path: Path) -> None:
    done = python(tmp_path, "-c", "import sys, osteon; print('importlib.metadata' in sys.modules)")
    assert done.stdout == "False\n"
    assert not hasattr(library, "no_such_name")
