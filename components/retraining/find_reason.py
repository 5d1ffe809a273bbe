"""Look at films and registry, and say whether to train again."""

import logging
from datetime import UTC, datetime

from pydantic import ValidationError

from components.retraining.reasons import DriftReport, Judged, reason_to_train
from components.tasks.step_tasks import read_params
from osteon.errors import OsteonError
from osteon.progress import configure_logging
from osteon.records.registry import Registry
from osteon.remotes.film_versions import find_version, repository_address

log = logging.getLogger(__name__)


def find_reason(repository: str, revision: str, params: str, drift: str = "") -> str:
    """Why a model should be trained now; empty where there is no reason.

    Args:
        repository: of the films, as for find_version.
        revision: whose films count as the newest.
        params: as one line; data.root and the section retraining are read.
        drift: a report as JSON, with the keys made (a time) and share; empty where there is none.

    Raises:
        OsteonError: the films or the registry cannot be looked at, or the report is none.

    """
    configure_logging()
    values = read_params(params)
    films = find_version(repository_address(repository), revision, values.data.root)
    report = _report(drift) if drift else None
    reason = reason_to_train(films.data, _judged(), report, values.retraining, datetime.now(UTC))
    log.info("films %s at commit %s: %s", films.data, films.commit, reason or "no reason to train")
    return reason


def _judged() -> list[Judged]:
    registry = Registry.open_existing()
    if registry is None:
        return []
    entries = [entry for entry in registry.entries() if entry.action != "rolled back"]
    return [
        Judged(entry.at, registry.tags(entry.version).get("osteon.data"), entry.action == "promoted")
        for entry in entries
    ]


def _report(text: str) -> DriftReport:
    try:
        return DriftReport.model_validate_json(text)
    except ValidationError as error:
        raise OsteonError(f"drift: no drift report ({str(error).splitlines()[0]})") from None
