"""A compiled pipeline, as tests look at it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from osteon.params import ResourceParams
from pipelines.compilation import compile_pipeline
from tests.threads import in_own_thread

IMAGE = f"registry.example.org/osteon@sha256:{'0' * 64}"
COMMIT = "0" * 40


@dataclass(frozen=True)
class Compiled:
    """Its two documents: what is run, and where."""

    text: str
    spec: dict[str, Any]
    platform: dict[str, Any]

    def task(self, name: str) -> dict[str, Any]:
        """A task by its name, wherever it is nested."""
        tasks = {key: task for dag in self.dags() for key, task in dag["tasks"].items()}
        return dict(tasks[name])

    def dags(self) -> list[dict[str, Any]]:
        return [
            self.spec["root"]["dag"],
            *(component["dag"] for component in self.spec["components"].values() if "dag" in component),
        ]

    def executor(self, name: str) -> dict[str, Any]:
        """What a task's container is."""
        label = self.spec["components"][self.task(name)["componentRef"]["name"]]["executorLabel"]
        return dict(self.spec["deploymentSpec"]["executors"][label]["container"])

    def pod(self, name: str) -> dict[str, Any]:
        """What Kubernetes must know of a task."""
        label = self.spec["components"][self.task(name)["componentRef"]["name"]]["executorLabel"]
        return dict(self.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"][label])

    def executed(self) -> list[str]:
        """Names of the tasks that have a container."""
        tasks = {key: task for dag in self.dags() for key, task in dag["tasks"].items()}
        return [key for key, task in tasks.items() if "executorLabel" in self.component_of(task)]

    def component_of(self, task: dict[str, Any]) -> dict[str, Any]:
        return dict(self.spec["components"][task["componentRef"]["name"]])


def compiled(folder: Path, name: str = "training", **resources: Any) -> Compiled:
    """Compile a pipeline with some resources other than the defaults."""
    file = folder / f"{name}.yaml"
    parsed = ResourceParams.model_validate(resources)
    in_own_thread(lambda: compile_pipeline(name, file, IMAGE, parsed, COMMIT))
    text = file.read_text(encoding="utf-8")
    spec, platform = YAML(typ="safe").load_all(text)
    return Compiled(text, spec, platform)
