"""From README to a judged model on films of one's own: a clone, a folder, two lines of params.yaml, `make run`."""

import csv
import json
import os
import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from components.phantoms.step import phantoms
from osteon.params import PhantomParams
from tests.e2e.conftest import FEW, Project, make_project

# Rules that figures alone decide; the others say where a model comes from.
FIGURES = re.compile(r"auroc|sensitivity|non_inferiority|subgroup .*|calibration|robustness|refused")
MAKE_RUN = ("make", "-o", ".venv/made", "run")  # in the environment that is there, for the clone has none of its own


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films in a folder elsewhere, with a table of labels and patients, as a hospital hands them over."""
    place = tmp_path_factory.mktemp("own")
    phantoms(place / "drawn", place / "sheet.png", PhantomParams(**{**FEW["phantoms"], "seed": 7}))
    drawn = pd.read_csv(place / "drawn" / "manifest.csv", dtype=str)
    films = place / "wrists 2024"
    (films / "images").mkdir(parents=True)
    with (films / "annotations.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter=";")
        table.writerow(["filename", "fractured", "patient_id"])
        for number, row in enumerate(drawn.itertuples()):
            (place / "drawn" / str(row.path)).rename(films / "images" / f"{number:04}.png")
            word = "yes" if row.label in ("1", "fractured") else "no"
            table.writerow([f"{number:04}.png", word, row.patient_pseudonym])
    return films


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, own: Path) -> Project:
    """A clone whose params.yaml names the films, in two lines, after `make run`."""
    project = make_project(tmp_path_factory.mktemp("clone") / "osteon")
    params = project.folder / "params.yaml"
    text = params.read_text(encoding="utf-8")
    text = re.sub(r"root: data/phantoms\b", f"root: {json.dumps(str(own))}", text, count=1)
    params.write_text(re.sub(r"layout: manifest\b", "layout: annotations", text, count=1), encoding="utf-8")
    (project.folder / "look.ipynb").write_text("{}", encoding="utf-8")
    (project.folder / "run.log").write_text(project.done(*MAKE_RUN, OSTEON_IDENTITY_KEY="k" * 32), encoding="utf-8")
    return project


def verdicts(project: Project) -> dict[str, tuple[str, str]]:
    decision = json.loads((project.folder / "reports/promotion/decision.json").read_text(encoding="utf-8"))
    return {rule["rule"]: (rule["verdict"], rule["reason"]) for rule in decision["rules"]}


def test_a_model_of_own_films_is_promoted_or_refused_for_its_figures_alone(project: Project) -> None:
    rules = verdicts(project)
    failing = {name: reason for name, (verdict, reason) in rules.items() if verdict == "fail"}
    assert not [name for name in failing if not FIGURES.fullmatch(name)], failing
    assert {rules[name][0] for name in ("clean", "lineage", "leaks", "parity")} == {"pass"}
    log = (project.folder / "run.log").read_text(encoding="utf-8")
    assert "the code differs from the commit" not in log
    assert ("promote: version 1 is in use now" in log) == (not failing)


def test_changed_code_is_reported_before_the_first_stage_and_the_named_commands_mend_it(project: Project) -> None:
    """As a developer who forgets to commit, and does what the messages say."""
    changed = project.folder / "components" / "training" / "run.py"
    changed.write_text(changed.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    log = project.done(*MAKE_RUN, OSTEON_IDENTITY_KEY="k" * 32)
    warning = next(line for line in log.splitlines() if "the code differs from the commit" in line)
    assert "components/training/run.py" in warning
    verdict, reason = verdicts(project)["clean"]
    assert verdict == "fail"
    identity = {f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for command in (
        warning.partition("Commit first: ")[2].replace("git commit", "git commit --no-verify"),
        *re.findall(r"`([^`]+)`", reason),
    ):
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=project.folder,
            env={**project.environment, **identity, "OSTEON_IDENTITY_KEY": "k" * 32},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in (0, 4), f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert verdicts(project)["clean"][0] == "pass"
    assert os.environ.get("OSTEON_GIT_COMMIT") is None  # else nothing above was seen
