"""An earlier version into use again."""

from pathlib import Path
from tempfile import TemporaryDirectory

from osteon.errors import OsteonError
from osteon.models.package.package import example_film, open_package
from osteon.records.registry import MODEL, Entry, Registry, current_user, timestamp
from osteon.records.store import reason


def roll_back(version: str | None, why: str) -> str:
    """Put a version into use that was in use before; what to tell the user.

    Args:
        version: its number; None: the one in use before the present one.
        why: kept with the decision.

    Raises:
        OsteonError: no such version, it was never in use, its files are not those that were registered, or it does not
            load; or another decision was made at the same time.

    """
    if not why.strip():
        raise OsteonError("give a reason with --why: it is kept with the decision")
    registry = Registry.connect()
    state = registry.state() if version else registry.reconcile_aliases()
    version = version or state.previous
    if version is None:
        raise OsteonError("no version was in use before; osteon registry history shows the decisions")
    if version == registry.aliases().get("champion") == state.champion:
        return f"version {version} is in use already"
    if version not in {entry.version for entry in registry.entries() if entry.action != "refused"}:
        raise OsteonError(f"version {version} was never in use: only osteon promote puts a new one into use")
    with TemporaryDirectory() as temporary:
        folder = registry.package_of(version, Path(temporary))
        try:
            open_package(folder).predict([example_film()])
        # Whatever it is: a model that cannot answer must not be the one that is asked.
        except Exception as error:
            raise OsteonError(
                f"{MODEL}/{version} cannot answer and is not put into use: {reason(error).removeprefix(f'{folder}: ')}"
            ) from None
    entry = Entry(
        before=state.last,
        at=timestamp(),
        who=current_user(),
        action="rolled back",
        version=version,
        was=state.champion,
        why=why.strip(),
    )
    if not registry.append(entry):
        raise OsteonError(
            "another decision was made at the same time; look at osteon registry history and run the command again"
        )
    registry.apply_log()
    return f"{MODEL} version {version} is in use again, in place of {state.champion or 'none'}"
