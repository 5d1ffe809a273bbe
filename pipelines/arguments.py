"""What the compiled pipelines are given, checked before anything is sent.

Every argument is a string: KFP turns the 2 of a dict into 2.0. Whoever sees a run sees its arguments, so none of them
may hold a password; such an address belongs into the Kubernetes secret that the steps read.
"""

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from osteon.errors import OsteonError
from osteon.params import Params, checked, one_line
from osteon.redaction import has_password, redact_url

if TYPE_CHECKING:
    from components.promotion.policy import Mode, Policy

# What the image and its nodes get is written into the compiled file.
COMPILED = "resources"


def with_values(params: Params, given: list[str]) -> Params:
    """The parameters with some of their values replaced.

    Args:
        params: as read from params.yaml.
        given: dotted keys and values, such as "training.epochs=3", the value as params.yaml would have it.

    Raises:
        OsteonError: no "=", no YAML, or a key or value that params.yaml could not have either.

    """
    content = params.model_dump()
    for text in given:
        key, mark, value = text.partition("=")
        *outer, last = key.split(".")
        if not mark or not all((*outer, last)):
            raise OsteonError(f"--param {key}: give KEY=VALUE, such as training.epochs=3")
        if COMPILED in outer[:1]:
            raise OsteonError(
                f"--param {key}: is in the compiled file; set it in params.yaml and `osteon pipeline compile` again"
            )
        inner: Any = content
        for part in outer:
            if not isinstance(inner.get(part), dict):
                inner[part] = {}
            inner = inner[part]
        try:
            inner[last] = YAML(typ="safe", pure=True).load(value)
        except YAMLError:
            raise OsteonError(f"--param {key}: the value is not valid YAML") from None
    return checked(content, Params, "--param")


def training_arguments(
    params: Params, policy: "Policy", repository: str, revision: str, mode: "Mode | None", reason: str
) -> dict[str, str]:
    """The arguments of the pipeline osteon-training.

    Args:
        params: the whole of params.yaml.
        policy: what a model must show.
        repository: git's address whose DVC tracks the films; empty: the one in the Kubernetes secret.
        revision: of the repository.
        mode: of the promotion; None: the policy's.
        reason: why it is trained; kept with the run.

    Raises:
        OsteonError: an address has a password.

    """
    return {**retraining_arguments(params, policy, repository, revision, mode), "reason": reason}


def retraining_arguments(
    params: Params, policy: "Policy", repository: str, revision: str, mode: "Mode | None"
) -> dict[str, str]:
    """The arguments of the pipeline osteon-retraining; see training_arguments.

    Raises:
        OsteonError: an address has a password.

    """
    _refuse_password("--repository", repository, "OSTEON_REPOSITORY", "give --repository ''")
    _refuse_password("search.storage", params.search.storage, "OSTEON_SEARCH_STORAGE", "leave search.storage empty")
    return {
        "params": one_line(params.model_dump(mode="json")),
        "policy": one_line(policy.model_dump(mode="json")),
        "repository": repository,
        "revision": revision,
        "mode": mode or policy.mode,
    }


def origin(folder: Path) -> str:
    """The address that git has for the folder's origin; empty where there is none, or where it has a password."""
    try:
        done = subprocess.run(
            ("git", "remote", "get-url", "origin"),  # noqa: S607
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    address = done.stdout.strip()
    return "" if has_password(address) else address


def _refuse_password(name: str, address: str, variable: str, instead: str) -> None:
    if has_password(address):
        shown = redact_url(address)
        raise OsteonError(
            f"{name} {shown}: has a password, and everyone who sees a run sees its arguments; put the address into the "
            f"Kubernetes secret under {variable} and {instead}"
        )
