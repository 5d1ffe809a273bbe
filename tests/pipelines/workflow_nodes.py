"""The tasks of a run as Kubeflow Pipelines 2.17 lists them: nodes of Argo's workflow.

`recorded/` has what a real server listed; test_recorded.py holds this against it. A node has a path: that of the node
that it lies in, a dot, and its own name. Its id is the workflow's name and a hash of the path (FNV-1a, 32 bits). The
list shows the last part of the path, and the ids of the node's children; not the node's own id, and no pod.

Argo tries everything again that ends in an error: NAME has a child NAME(0), the first attempt, and so have its driver
NAME-driver and its pod `executor`. A child of an attempt is what lies in it first, and what waits for it.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

BEGUN = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
NEVER = "0001-01-01T00:00:00Z"
NOT_YET = "1970-01-01T00:00:00Z"  # of a run
WORKFLOW = "osteon-training-x7k2p"
HANDLER = "exit-handler-1"
ATTEMPT, EVERY_ATTEMPT = re.compile(r"\(\d+\)$"), re.compile(r"\(\d+\)")
LAST_PART = re.compile(r"[^.]+(\.onExit(\(\d+\))?)?$")
NEVER_CACHED = ("find-films", "ask-why", "promote", "report-end")


def at(seconds: int) -> str:
    """So many seconds after the beginning, as the server writes it."""
    return f"{BEGUN + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True)
class Step:
    """A step, and how far it has come.

    state: SUCCEEDED, FAILED, RUNNING, PENDING (its pod waits), CACHED (its result came from the cache), DRIVER (its
    driver has failed), WAITING (its driver is at work), SKIPPED (a condition is false), OMITTED (an earlier step has
    failed), ABSENT (not listed yet). begin, end: seconds. attempts: of its pod. after: the steps that it waits for;
    None: the one before.
    """

    name: str
    state: str
    begin: int = 0
    end: int = 0
    attempts: int = 1
    after: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Group:
    """Steps in a condition, a loop (each of them an iteration), or another pipeline; states are those of a step."""

    name: str
    state: str
    steps: "tuple[Step | Group, ...]" = ()
    begin: int = 0
    end: int = 0
    after: tuple[str, ...] | None = None


def handler_path(workflow: str = WORKFLOW) -> str:
    """The path of the node that the steps lie in."""
    return f"{workflow}(0).root(0).{HANDLER}(0)"


def node_id(path: str, workflow: str = WORKFLOW, *, at_handler: bool = False) -> str:
    """The id of a node: the workflow's name, and a hash of its path, which may begin at the exit handler."""
    path = f"{handler_path(workflow)}.{path}" if at_handler else path
    hashed = 2166136261
    for byte in path.encode():
        hashed = (hashed ^ byte) * 16777619 % 2**32
    return workflow if path == workflow else f"{workflow}-{hashed}"


def log_id(name: str, inside: str = "", workflow: str = WORKFLOW) -> str:
    """The id by which the recorded server gave a step's log: that of its first attempt, not that of its pod."""
    return node_id(f"{handler_path(workflow)}{inside}.{name}(0)", workflow)


def pod_name(name: str, attempt: int = 0, inside: str = "", workflow: str = WORKFLOW, retried: bool = True) -> str:
    """The name of a step's pod: the template's name is in it. retried: the step is tried again after a failure."""
    number = node_id(f"{handler_path(workflow)}{inside}.{name}(0).executor({attempt})", workflow).rpartition("-")[2]
    return f"{workflow}-{'retry-' if retried else ''}system-container-impl-{number}"


def iteration(number: int, loop: str = "for-loop-2") -> str:
    """The path in the exit handler of an iteration of a loop."""
    return f".{loop}(0).iteration-iterations({number}:{number})(0).iteration-item(0)"


class _Nodes:
    def __init__(self, workflow: str) -> None:
        self.workflow = workflow
        self.listed: list[dict[str, Any]] = []
        self.places: list[tuple[str, list[str]]] = []  # of each its path, and its children's

    def tasks(self, *, tried_again: bool) -> list[dict[str, Any]]:
        """The nodes as they are listed, with the ids of their children."""
        tasks = []
        places = dict(self.places)
        for node, (path, children) in zip(self.listed, self.places, strict=True):
            if not tried_again and ATTEMPT.search(path):
                continue
            if not tried_again:
                inner = [places[child] if ATTEMPT.search(child) else [child] for child in children]
                children = [child for each in inner for child in each]
                children = [EVERY_ATTEMPT.sub("", child) for child in children]
            task = {key: value for key, value in node.items() if value is not None}
            if children:
                task["child_tasks"] = [{"pod_name": node_id(child, self.workflow)} for child in children]
            tasks.append(task)
        return tasks

    def add(self, path: str, state: str, begin: int, end: int, children: list[str]) -> None:
        """A node. state OMITTED: as Kubeflow tells it, which has no word for it."""
        ended = state not in ("RUNNING", "PENDING")
        known = {} if state == "OMITTED" else {"state": state}
        node = {
            "run_id": "r",
            "task_id": f"00000000-0000-4000-8000-{len(self.listed):012}",
            "display_name": LAST_PART.search(path)[0],  # type: ignore[index]
            "create_time": at(0),
            "start_time": at(begin),
            "end_time": at(end) if ended else NEVER,
            **known,
            "state_history": [{"update_time": at(end if ended else begin), **known}],
        }
        self.listed.append(node)
        self.places.append((path, children))

    def tried(
        self,
        path: str,
        state: str,
        begin: int,
        end: int,
        inner: list[str],
        attempts: int = 1,
        hooks: tuple[str, ...] = (),
    ) -> None:
        """A node that is tried again, and its attempts; all but the last have failed."""
        tries = [f"{path}({i})" for i in range(attempts)]
        self.add(path, "RUNNING" if state == "PENDING" else state, begin, end, [*tries, *hooks])
        for i, attempt in enumerate(tries):
            last = i == attempts - 1
            self.add(attempt, state if last else "FAILED", begin, end or begin, inner if last else [])

    def driver(self, path: str, state: str, begin: int, end: int, next_path: str) -> None:
        """The driver of a node."""
        self.tried(path, state, begin, end, [] if state == "PENDING" else [next_path])


def _waiting(step: "Step | Group", steps: "tuple[Step | Group, ...]", place: str) -> list[str]:
    """The paths of the nodes that wait for a step: drivers, or loops."""
    waiting = []
    for i, other in enumerate(steps):
        after = other.after if other.after is not None else ((steps[i - 1].name,) if i else ())
        if step.name in after and other.state != "ABSENT":
            waiting.append(f"{place}.{_first_node(other)}")
    return waiting


def _first_node(step: "Step | Group") -> str:
    return step.name if step.name.startswith("for-loop") else f"{step.name}-driver"


def _write(nodes: _Nodes, steps: "tuple[Step | Group, ...]", place: str) -> list[str]:
    """List steps, and what they lie in; the paths of those that wait for none."""
    for step in steps:
        if step.state == "ABSENT":
            continue
        path, waiting = f"{place}.{step.name}", _waiting(step, steps, place)
        if step.state == "OMITTED":
            if not step.name.startswith("for-loop"):
                nodes.add(f"{path}-driver", "OMITTED", step.begin, step.begin, [path])
            nodes.add(path, "OMITTED", step.begin, step.begin, waiting)
        elif step.name.startswith("for-loop"):
            assert isinstance(step, Group)
            _write_loop(nodes, step, path, waiting)
        else:
            driver = {"DRIVER": "FAILED", "WAITING": "PENDING"}.get(step.state, "SUCCEEDED")
            nodes.driver(f"{path}-driver", driver, step.begin, step.end if driver == "FAILED" else step.begin, path)
            if driver == "FAILED":
                nodes.add(path, "OMITTED", step.end, step.end, waiting)
            elif driver == "SUCCEEDED":
                _write_work(nodes, step, path, waiting)
    return [f"{place}.{_first_node(step)}" for i, step in enumerate(steps) if not (step.after or i) or step.after == ()]


def _write_work(nodes: _Nodes, step: "Step | Group", path: str, waiting: list[str]) -> None:
    """List what a driver has begun: the pod of a step, or the steps in a group."""
    if step.state == "SKIPPED":
        nodes.add(path, "SKIPPED", step.begin, step.begin, waiting)
        return
    if isinstance(step, Group):
        first = _write(nodes, step.steps, f"{path}(0)")
        nodes.tried(path, step.state, step.begin, step.end, [*first, *waiting])
        return
    pod = f"{path}(0).executor"
    state = {"CACHED": "SUCCEEDED", "PENDING": "RUNNING"}.get(step.state, step.state)
    end = step.begin if step.state == "CACHED" else step.end
    nodes.tried(path, state, step.begin, end, [pod, *waiting])
    if step.state == "CACHED":
        nodes.add(pod, "SKIPPED", step.begin, step.begin, [])
    else:
        nodes.tried(pod, step.state, step.begin, step.end, [], step.attempts)
    if step.state == "SUCCEEDED" and step.name not in NEVER_CACHED:  # the record of the cache, which has no name
        times = {"create_time": at(step.end), "start_time": at(step.begin), "end_time": at(step.end)}
        nodes.listed.append({"run_id": "r", "task_id": "t", **times, "execution_id": str(len(nodes.listed))})
        nodes.places.append(("", []))


def _write_loop(nodes: _Nodes, loop: Group, path: str, waiting: list[str]) -> None:
    driver, all_of_it = f"{path}(0).iteration-driver", f"{path}(0).iteration-iterations"
    nodes.tried(path, loop.state, loop.begin, loop.end, [driver, *waiting])
    nodes.driver(driver, "SUCCEEDED", loop.begin, loop.begin, all_of_it)
    each = [f"{all_of_it}({i}:{i})" for i in range(len(loop.steps))]
    nodes.add(all_of_it, loop.state, loop.begin, loop.end, each)
    for item, step in zip(each, loop.steps, strict=True):
        item_path = f"{item}(0).iteration-item"
        state = {"CACHED": "SUCCEEDED", "WAITING": "RUNNING", "PENDING": "RUNNING"}.get(step.state, step.state)
        nodes.tried(item, state, loop.begin, step.end, [f"{item_path}-driver"])
        nodes.driver(f"{item_path}-driver", "SUCCEEDED", loop.begin, loop.begin, item_path)
        nodes.tried(item_path, state, loop.begin, step.end, _write(nodes, (step,), f"{item_path}(0)"))


def listed_tasks(
    state: str, steps: "tuple[Step | Group, ...]", workflow: str = WORKFLOW, *, tried_again: bool = True
) -> list[dict[str, Any]]:
    """The tasks of a run, with the run itself and what KFP adds.

    Args:
        state: of the run: SUCCEEDED, FAILED or RUNNING.
        steps: those in the exit handler, in the order in which they are called.
        workflow: its name.
        tried_again: each node has its attempts, as from KFP 2.15 on.

    """
    nodes = _Nodes(workflow)
    whole, root = f"{workflow}(0)", f"{workflow}(0).root"
    handler, end = f"{root}(0).{HANDLER}", max((step.end for step in steps), default=0)
    hook = f"{handler}.onExit"
    nodes.tried(workflow, state, 0, end, [f"{whole}.root-driver"])
    nodes.driver(f"{whole}.root-driver", "SUCCEEDED", 0, 0, root)
    nodes.tried(root, state, 0, end, [f"{handler}-driver"])
    nodes.driver(f"{handler}-driver", "SUCCEEDED", 0, 0, handler)
    first = _write(nodes, steps, f"{handler}(0)")
    nodes.tried(handler, state, 0, end, first, hooks=() if state == "RUNNING" else (hook,))
    if state != "RUNNING":
        first = _write(nodes, (Step("report-end", "SUCCEEDED", end + 10, end + 21),), f"{hook}(0)")
        nodes.tried(hook, "SUCCEEDED", end, end + 21, first)
    return nodes.tasks(tried_again=tried_again)


def frame(state: str, *steps: "Step | Group", **more: Any) -> dict[str, Any]:
    """A run at one moment."""
    finished = at(723) if state in ("SUCCEEDED", "FAILED", "CANCELED") else NOT_YET
    of_tasks = {"CANCELING": "RUNNING", "CANCELED": "FAILED"}.get(state, state)
    return {
        "state": state,
        "created_at": at(0),
        "finished_at": finished,
        "run_details": {"task_details": listed_tasks(of_tasks, steps)},
        **more,
    }
