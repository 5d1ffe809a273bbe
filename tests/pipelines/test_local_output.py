"""What a person reads of what kfp's local runner prints."""

import io

from pipelines.local_output import LocalOutput

PRINTED = """05:21:04.1 - INFO - Executing task \x1b[96m'ingest'\x1b[0m
    [KFP Executor 2026-11-22 04:58:31,483 INFO]: Got executor_input:
    {"inputs": {"params": "ingest: no line of a step"}}
    [KFP Executor 2026-11-22 04:58:31,483 INFO]: 96 films fetched
    [KFP Executor 2026-11-22 04:58:31,483 INFO]: note: nobody is called note
    [KFP Executor 2026-11-22 04:58:31,483 INFO]: ingest: films 96 · positive 38
    [KFP Executor 2026-11-22 04:58:31,483 INFO]: fold 1: films 38
05:21:04.1 - INFO - Task cross-validate cache hit (key=0123); skipping execution.
    osteon.errors.OsteonError: the films cannot be trusted
    ValueError: odd
"""


def test_a_line_a_task_and_the_reasons() -> None:
    file, terminal = io.StringIO(), io.StringIO()
    output = LocalOutput(file, terminal, frozenset({"ingest", "fold"}))
    for start in range(0, len(PRINTED), 7):  # as it comes, not line by line
        output.write(PRINTED[start : start + 7])
    assert file.getvalue() == PRINTED
    assert terminal.getvalue().splitlines() == [
        "ingest: films 96 · positive 38",
        "fold 1: films 38",
        "cross_validate: nothing has changed",
    ]
    assert output.reasons == ["the films cannot be trusted", "ValueError: odd"]
