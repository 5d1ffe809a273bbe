"""The tasks that Kubeflow Pipelines lists for a run are nodes of an Argo workflow: which node lies in which.

A task says its own name, as `search` or `executor(0)`, and the ids of its children, but neither its own id nor the name
of a pod (KFP 2.5 to 2.17). Argo makes an id of the workflow's name and a hash of the node's path, which is the path of
the node that it lies in, a dot, and its own name: so paths can be told by trying.

Source of the hash: https://datatracker.ietf.org/doc/html/draft-eastlake-fnv (FNV-1a, 32 bits).
"""

import re
from collections.abc import Iterable
from graphlib import TopologicalSorter
from typing import Any, NamedTuple

OFFSET, PRIME = 2166136261, 16777619
ATTEMPT = re.compile(r"\(\d+\)$")
# A pod's name has that of its template in it; a step that is tried again after a failure has one of its own.
POD_TEMPLATES = ("retry-system-container-impl", "system-container-impl")
DRIVER_TEMPLATES = ("system-container-driver", "system-dag-driver")


class Workflow(NamedTuple):
    """A run's workflow.

    name: which its pods' names begin with. tasks: a task by its node's path, in the order in which they wait for each
    other; a path without a task is that of a node that is known only as a child.
    """

    name: str
    tasks: dict[str, Any]

    def node_id(self, path: str) -> str:
        """The id of the node with this path."""
        return f"{self.name}-{_hash(path)}"

    def pods_of(self, path: str) -> tuple[tuple[str, ...], ...]:
        """For each attempt of a step the names under which its log may be kept, the likeliest first.

        The server gives a log by the name of a pod or, from its archive, by the id of a node; and which node it takes
        for the pod differs: the recorded one gave it for the attempt that the pod lies in.
        """
        tried = re.compile(re.escape(path) + r"(?:\((\d+)\))?\.executor(?:\((\d+)\))?")
        matches = [match for match in map(tried.fullmatch, self.tasks) if match]
        pods = [match for match in matches if match[2]] or matches
        attempts = sorted((int(pod[1] or 0), int(pod[2] or 0), pod[0]) for pod in pods)
        paths = [attempt[2] for attempt in attempts] or [f"{path}(0).executor(0)"]
        names = [[*self._named(pod, POD_TEMPLATES), self.node_id(pod)] for pod in paths]
        last = paths[-1]
        names[-1] += [self.node_id(node) for node in (around(last), path, ATTEMPT.sub("", last)) if node != last]
        return tuple(map(tuple, names))

    def driver_names(self, path: str) -> tuple[tuple[str, ...], ...]:
        """The same of a driver, of its last attempt alone."""
        last = max((attempt for attempt in self.tasks if ATTEMPT.sub("", attempt) == path), default=path)
        return ((*self._named(last, DRIVER_TEMPLATES), self.node_id(last), self.node_id(path)),)

    def _named(self, path: str, templates: tuple[str, ...]) -> list[str]:
        return [f"{self.name}-{template}-{_hash(path)}" for template in templates]


def last_name(path: str) -> str:
    """The name of the node itself."""
    whole, _, name = path.rpartition(".")
    return f"{whole.rpartition('.')[2]}.{name}" if name.startswith("onExit") else name


def around(path: str) -> str:
    """The path of the node that a node lies in."""
    return path.removesuffix(f".{last_name(path)}")


def workflow_of(tasks: Iterable[Any]) -> Workflow | None:
    """The workflow behind a run's tasks; None where no task has a child yet."""
    named = [task for task in tasks if task.display_name]
    ids = {child.pod_name for task in named for child in task.child_tasks or () if child.pod_name}
    if not ids:
        return None
    name = min(ids).rpartition("-")[0]
    paths = _paths(name, {int(child.rpartition("-")[2]) for child in ids}, {task.display_name for task in named})
    found: dict[str, Any] = dict.fromkeys(paths.values())
    by_name: dict[str, list[str]] = {}
    for path in found:
        by_name.setdefault(last_name(path), []).append(path)
    # Those whose children tell where they are first: the rest take the places that are left.
    for task in sorted(named, key=lambda task: not task.child_tasks):
        free = [path for path in by_name.get(task.display_name, ()) if found[path] is None]
        children = [paths.get(_number(child.pod_name), "") for child in task.child_tasks or () if child.pod_name]
        inner = [path for path in free if any(child.startswith((f"{path}(", f"{path}.")) for child in children)]
        beside = [path for path in free if any(around(child) == around(path) for child in children)]
        if place := next(iter([*inner, *beside, *free]), None):
            found[place] = task
    waits: dict[str, list[str]] = {path: [] for path in sorted(found, key=_natural)}
    for path, task in found.items():
        for child in (task.child_tasks if task else None) or ():
            if (child_path := paths.get(_number(child.pod_name))) is not None:
                waits[child_path].append(path)
    return Workflow(name, {path: found[path] for path in TopologicalSorter(waits).static_order()})


def _paths(workflow: str, numbers: set[int], names: set[str]) -> dict[int, str]:
    """The path of each node that is somebody's child, by the number in its id."""
    attempts = (name.removeprefix(workflow) for name in names if name.startswith(f"{workflow}("))
    suffixes = [*(f".{name}" for name in names), *attempts]
    found = {_hash(workflow): workflow}
    frontier = [workflow]
    while frontier:
        path = frontier.pop()
        begun = _hash(path)
        for suffix in suffixes:
            number = _hash(suffix, begun)
            if number in numbers and number not in found:
                found[number] = path + suffix
                frontier.append(path + suffix)
    return found


def _natural(path: str) -> str:
    """The second of ten iterations before the tenth."""
    return re.sub(r"\d+", lambda number: number[0].zfill(4), path)


def _hash(text: str, begun: int = OFFSET) -> int:
    for byte in text.encode():
        begun = (begun ^ byte) * PRIME % 2**32
    return begun


def _number(node_id: str) -> int:
    return int(node_id.rpartition("-")[2])
