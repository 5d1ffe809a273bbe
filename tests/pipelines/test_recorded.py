"""The double of the tests against what a real server said: the same nodes, states and children for the same story."""

from collections import Counter
from typing import Any

import pytest

from tests.pipelines.recorded_replies import listed_run, reply
from tests.pipelines.workflow_nodes import Group, Step, listed_tasks

# What each step waits for, as its inputs have it.
AFTER: dict[str, tuple[str, ...]] = {
    "share-params": (),
    "share-folds": (),
    "find-films": (),
    "ingest": ("find-films", "share-params"),
    "validate": ("find-films", "share-params", "ingest"),
    "prepare": ("find-films", "share-params", "validate"),
    "augment": ("share-params", "prepare"),
    "features": ("share-params", "prepare", "augment"),
    "search": ("share-params", "prepare", "augment", "features"),
    "for-loop-2": ("share-folds", "prepare", "augment", "features", "search"),
    "cross-validate": ("share-params", "prepare", "augment", "features", "search", "for-loop-2"),
    "train": ("share-params", "prepare", "augment", "features", "search", "cross-validate"),
    "evaluate": ("share-params", "train", "prepare", "search", "cross-validate", "validate"),
    "condition-3": ("find-films", "evaluate", "prepare", "train", "validate"),
}


def story(others: str, inside: dict[str, tuple[Step, ...]], **states: str) -> tuple[Step | Group, ...]:
    """All steps of the training. others: the state of those that are not named; inside: the steps of groups."""
    steps: list[Step | Group] = []
    for name, after in AFTER.items():
        state = states.get(name.replace("-", "_"), others)
        if name in ("for-loop-2", "condition-3"):
            steps.append(Group(name, state, inside.get(name, ()), after=after))
        else:
            steps.append(Step(name, state, after=after))
    return tuple(steps)


CACHED_INPUTS_GONE = story(
    "OMITTED",
    {},
    **dict.fromkeys(("find_films", "share_params", "share_folds"), "SUCCEEDED"),
    **dict.fromkeys(("ingest", "validate", "prepare", "augment", "features"), "CACHED"),
    search="FAILED",
)
ALL_CACHED = story(
    "CACHED",
    {"for-loop-2": (Step("cross-validate-fold", "CACHED"),) * 2, "condition-3": (Step("promote", "SUCCEEDED"),)},
    find_films="SUCCEEDED",
    for_loop_2="SUCCEEDED",
    condition_3="SUCCEEDED",
)
NO_REASON = (Step("ask-why", "SUCCEEDED"), Group("condition-2", "SKIPPED"))


def shapes(tasks: list[dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    """What a list of tasks says but for times: name, state, children."""
    return Counter(
        (
            task.get("display_name"),
            task.get("state"),
            tuple(sorted(child["pod_name"] for child in task.get("child_tasks", ()))),
        )
        for task in tasks
    )


@pytest.mark.parametrize(
    ("run", "steps"),
    [
        (reply("failed-run-0022"), CACHED_INPUTS_GONE),
        (listed_run("a5a28ddc"), ALL_CACHED),
        (listed_run("7180828c"), NO_REASON),
    ],
    ids=["failed", "all cached", "no reason to train"],
)
def test_the_double_lists_the_nodes_that_the_server_listed(
    run: dict[str, Any], steps: tuple[Step | Group, ...]
) -> None:
    recorded = run["run_details"]["task_details"]
    workflow = next(task["child_tasks"][0]["pod_name"] for task in recorded if "child_tasks" in task).rpartition("-")[0]
    made = listed_tasks(run["state"], steps, workflow)
    assert shapes(made) == shapes(recorded)
    assert {frozenset(task) for task in made} == {frozenset(task) for task in recorded}  # the same keys
