"""A version made once more, from its commit and films in a folder of its own, and its figures beside the original ones.

Nothing is written into the project: the code is cloned, the runs go to a store in that folder, and DVC keeps no
output of them.
"""

import json
import logging
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from components.reproduction.clone import (
    check_code,
    check_films,
    clone_at,
    commands_of,
    set_params,
    step_environment,
    work_folder,
)
from components.reproduction.original import Original, bring_sides, figures_of, find_original
from components.reproduction.programs import has_commit, run, run_git
from osteon.environment import differences
from osteon.files import dvc_hash
from osteon.models.package.package import read_info
from osteon.records import lineage
from osteon.records.store_address import STORE

log = logging.getLogger(__name__)

TOLERANCE = 1e-3
REPORT, MADE = Path("reports/evaluation"), Path("artifacts/model")


@dataclass(frozen=True)
class Figure:
    """A figure of the version and of its reproduction; None where it is not defined."""

    name: str
    original: float | None
    again: float | None

    @property
    def difference(self) -> float:
        """That of the reproduction less that of the version; infinite where only one of them is defined."""
        if self.original is None or self.again is None:
            return 0.0 if self.original is self.again else math.inf
        return self.again - self.original

    @property
    def same(self) -> bool:
        """Within the tolerance."""
        return abs(self.difference) <= TOLERANCE


@dataclass(frozen=True)
class Reproduction:
    """The result. data: DVC's hash of the films then and now. changes: what else differs, a line each."""

    version: str
    figures: list[Figure]
    data: tuple[str, str]
    changes: list[str]

    @property
    def worst(self) -> Figure:
        """The figure that differs most."""
        return max(self.figures, key=lambda figure: abs(figure.difference))

    @property
    def reproduced(self) -> bool:
        """The films are the same, and every figure is."""
        return self.data[0] == self.data[1] and self.worst.same


def reproduce(version: str, keep: Path | None) -> Reproduction:
    """Make a version again and compare its figures.

    Args:
        version: of osteon-fracture, or an alias of one.
        keep: an empty folder, or one to make, to work in and to leave; None: a temporary one, removed at the end.

    Raises:
        OsteonError: it is not known well enough what the version was made from, or the run failed.

    """
    original = find_original(version)
    with work_folder(keep) as folder:
        stays = "it stays there" if keep else "removed at the end; --keep DIR keeps it"
        log.info("version %s: commit %s, in %s (%s)", original.version, original.commit, folder, stays)
        project = clone_at(original.commit, folder)
        environment = step_environment(project, original)
        commands = commands_of(project, environment)
        check_code(project, environment, commands)
        params = set_params(project, environment, commands, original.params)
        root = project / params["data.root"]
        check_films(root, original)
        bring_sides(original, project)
        # --force: each stage runs, whatever dvc.lock says and DVC's cache has; --no-commit: no output is kept there.
        run([commands / "dvc", "repro", "--force", "--no-run-cache", "--no-commit", "evaluate"], project, environment)
        figures = figures_of(project / REPORT)
        names = dict.fromkeys((*original.figures, *figures))
        return Reproduction(
            version=original.version,
            figures=[Figure(name, original.figures.get(name), figures.get(name)) for name in names],
            data=(str(original.made.data), dvc_hash(root)),
            changes=list(_changes(original, project)),
        )


def _changes(original: Original, project: Path) -> Iterator[str]:
    nodes = list(original.made.walk())
    for commit in {node.tags[lineage.COMMIT] for node in nodes} - {original.commit}:
        steps = ", ".join(node.step for node in nodes if node.tags[lineage.COMMIT] == commit)
        if not has_commit(commit) or run_git(
            "diff", "--name-only", commit, original.commit, "--", "osteon", "components", "dvc.yaml"
        ):
            yield f"code: {steps} ran at commit {commit} then"
    images = {node.tags[lineage.IMAGE] for node in nodes if lineage.IMAGE in node.tags}
    for image in sorted(images - {os.environ.get("OSTEON_IMAGE", "")}):
        yield f"image: {image} then, {os.environ.get('OSTEON_IMAGE') or 'none'} now"
    if info := original.info:
        present = read_info(project / MADE)
        for name in ("backend", "precision"):
            if getattr(info, name) != getattr(present, name):
                yield f"{name}: {getattr(info, name)} then, {getattr(present, name)} now"
    known = list(lineage.environments(nodes).values())
    if not known:
        yield "machine and packages: not recorded then"
    # All steps ran in one environment now.
    kept = next((project / STORE).rglob(lineage.ENVIRONMENT_FILE), None)
    if known and kept:
        here = json.loads(kept.read_text(encoding="utf-8"))
        yield from dict.fromkeys(line for environment in known for line in differences(environment, here))
