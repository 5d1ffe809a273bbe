"""Schedules of Kubeflow Pipelines: recurring runs that are made, replaced and removed by their name.

KFP makes a second one with the same name without a word, and cannot change one. A recurring run that names a pipeline
and no version follows the newest version (KFP 2.5 and later; kfp.Client insists on a version, its API does not).
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple

import kfp_server_api as api
from cronsim import CronSim, CronSimError
from kfp_server_api import ApiException

from osteon.errors import OsteonError
from pipelines.cluster import Cluster, Version, translate_refusals


def read_cron(text: str) -> str:
    """Check a schedule as crontab has it; the form that KFP takes, with seconds first.

    Args:
        text: five fields: minute, hour, day of the month, month, weekday.

    Raises:
        OsteonError: it is none, such a day never comes, or KFP would not understand it.

    """
    fields = text.upper().split()
    if len(fields) != 5:
        raise OsteonError(f"--cron '{text}': give five fields: minute hour day month weekday, such as '0 3 * * 1'")
    if re.search(r"(?<![/\d])7", fields[4]):
        raise OsteonError(f"--cron '{text}': Sunday is 0 to Kubeflow, not 7")
    if re.search(r"[L#W]", re.sub("[A-Z]{3}", "", fields[2] + fields[4])):
        raise OsteonError(f"--cron '{text}': Kubeflow knows no L, W, # in a schedule")
    try:
        CronSim(" ".join(fields), datetime.now(UTC))
    except CronSimError as error:
        raise OsteonError(f"--cron '{text}': {str(error).lower()}; see `man 5 crontab`") from None
    return " ".join(("0", *fields))


def next_times(cron: str, most: int = 3) -> list[datetime]:
    """When a schedule's next runs begin, UTC; none where it is no form that we can read."""
    fields = cron.upper().replace("?", "*").split()
    try:
        return list(islice(CronSim(" ".join(fields[-5:]), datetime.now(UTC)), most))
    except CronSimError:
        return []


class Schedule(NamedTuple):
    """A recurring run as its list shows it."""

    name: str
    cron: str
    state: str
    next: str


def listed(cluster: Cluster) -> list[Schedule]:
    """All schedules, by name.

    Raises:
        OsteonError: the server refuses.

    """
    schedules = []
    for run in _all(cluster):
        active = run.mode == "ENABLE"
        if run.trigger and run.trigger.cron_schedule and run.trigger.cron_schedule.cron:
            cron = str(run.trigger.cron_schedule.cron)
            times = next_times(cron, 1)
            upcoming = f"{times[0]:%Y-%m-%d %H:%M} UTC" if times else "?"
            # As one writes it; the seconds are always 0.
            shown = cron.removeprefix("0 ") if len(cron.split()) == 6 else cron
        else:
            period = run.trigger.periodic_schedule if run.trigger else None
            shown, upcoming = f"every {period.interval_second} s" if period else "?", "?"
        schedules.append(
            Schedule(run.display_name, shown, "active" if active else "paused", upcoming if active else "–")
        )
    return sorted(schedules)


def replace(
    cluster: Cluster,
    name: str,
    version: Version,
    experiment_id: str,
    cron: str,
    arguments: dict[str, str],
    *,
    paused: bool,
) -> int:
    """Make a schedule, and then delete those that had its name; how many there were.

    Args:
        cluster: where.
        name: of the schedule.
        version: names the pipeline, whose newest version is run.
        experiment_id: of the runs.
        cron: with seconds first.
        arguments: of every run.
        paused: it begins when it is made anew without.

    Raises:
        OsteonError: it could not be made, and the earlier one is as it was; or the earlier one could not be deleted.

    """
    earlier = [run.recurring_run_id for run in _all(cluster) if run.display_name == name]
    mode = api.RecurringRunMode.DISABLE if paused else api.RecurringRunMode.ENABLE
    wanted = api.V2beta1RecurringRun(
        display_name=name,
        experiment_id=experiment_id,
        mode=mode,
        pipeline_version_reference=api.V2beta1PipelineVersionReference(pipeline_id=version.pipeline_id),
        runtime_config=api.V2beta1RuntimeConfig(parameters=arguments),
        trigger=api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron=cron)),
        max_concurrency=1,
        no_catchup=True,
    )
    service = cluster.client.recurring_runs
    stays = ", and the earlier one is as it was" if earlier else ""
    with translate_refusals(cluster, f"schedule {name} was not made{stays}"):
        made = service.recurring_run_service_create_recurring_run(recurring_run=wanted).recurring_run_id
        kept = service.recurring_run_service_get_recurring_run(recurring_run_id=made)
        if kept.mode != mode or not kept.trigger or kept.trigger.cron_schedule.cron != cron:
            service.recurring_run_service_delete_recurring_run(recurring_run_id=made)
            raise OsteonError(
                f"schedule {name}: the server kept another schedule than the one sent; it was removed{stays}"
            )
    with translate_refusals(
        cluster, f"schedule {name} is made, but an earlier one could not be deleted; run the command again"
    ):
        for recurring_run_id in earlier:
            _delete(cluster, recurring_run_id)
    return len(earlier)


def pause(cluster: Cluster, name: str) -> None:
    """Let a schedule begin no more runs.

    Raises:
        OsteonError: there is none with this name, or the server refuses.

    """
    for recurring_run_id in _named(cluster, name):
        with translate_refusals(cluster, f"schedule {name} was not paused"):
            cluster.client.disable_recurring_run(recurring_run_id)


def delete(cluster: Cluster, name: str) -> None:
    """Remove a schedule; its runs stay.

    Raises:
        OsteonError: there is none with this name, or the server refuses.

    """
    for recurring_run_id in _named(cluster, name):
        with translate_refusals(cluster, f"schedule {name} was not deleted"):
            _delete(cluster, recurring_run_id)


def _delete(cluster: Cluster, recurring_run_id: str) -> None:
    try:
        cluster.client.delete_recurring_run(recurring_run_id)
    except ApiException as error:
        if error.status != 404:
            raise


def _named(cluster: Cluster, name: str) -> list[str]:
    named = [run.recurring_run_id for run in _all(cluster) if run.display_name == name]
    if not named:
        raise OsteonError(f"no schedule {name}; `osteon pipeline schedules` lists them")
    return named


def _all(cluster: Cluster) -> Iterator[Any]:
    token = ""
    while True:
        with translate_refusals(cluster, "schedules"):
            page = cluster.client.list_recurring_runs(page_token=token, page_size=100, namespace=cluster.namespace)
        yield from page.recurring_runs or ()
        token = page.next_page_token or ""
        if not token:
            return
