"""Which model is in use, in MLflow's registry: versions, aliases, and a log of how it came to be so.

MLflow keeps no history of aliases and changes nothing atomically but the number of a new version. So every decision is
a version of a second registered model, LOG, and carries the hash of the decision before it. The log counts; the aliases
follow it. Of two decisions that follow the same one, the one with the lower number holds, and the other process knows.
A process that dies between two calls leaves the log with or without its decision; the next call sets the aliases.
"""

import getpass
import hashlib
import logging
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, Self

from botocore.exceptions import BotoCoreError, ClientError
from mlflow.artifacts import download_artifacts, list_artifacts
from mlflow.exceptions import MlflowException
from pydantic import BaseModel, ConfigDict, ValidationError

from osteon.errors import OsteonError, UnreachableError
from osteon.files import dvc_hash
from osteon.records import store
from osteon.records.retries import Retries

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

MODEL, LOG = "osteon-fracture", "osteon-fracture-log"
CHAMPION, PREVIOUS, CHALLENGER = "champion", "previous", "challenger"
PACKAGE, ENTRY = "osteon.package", "osteon.entry"  # tags of a version
BEGINNING = "0" * 64
FETCH_TIMEOUT = 60  # seconds to wait for the next bytes of a package
DESCRIPTION = 5000  # characters that a database keeps of a version's description
Action = Literal["promoted", "refused", "rolled back"]


class Entry(BaseModel):
    """One decision. before: SHA-256 of the entry before. was: the version in use until then. run: has the decision."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    before: str
    at: datetime
    who: str
    action: Action
    version: str
    was: str | None
    why: str
    run: str | None = None
    decision: str | None = None  # SHA-256 of decision.json

    def reason(self) -> str:
        """Why, on one line: of several failing rules the first."""
        first, *more = self.why.split("\n")
        return f"{first} (and {len(more)} more)" if more else first

    def text(self) -> str:
        """As it is kept."""
        return self.model_dump_json()

    def digest(self) -> str:
        """What the next entry carries."""
        return hashlib.sha256(self.text().encode()).hexdigest()


@dataclass(frozen=True)
class State:
    """What the log says: the versions in use now and before, and the hash of its last entry."""

    champion: str | None = None
    previous: str | None = None
    last: str = BEGINNING

    def after(self, entry: Entry) -> Self:
        """The state that an entry makes of this one."""
        if entry.action == "refused":
            return type(self)(self.champion, self.previous, entry.digest())
        return type(self)(entry.version, self.champion, entry.digest())


class Registry:
    """The registry of one MLflow store."""

    def __init__(self, client: "MlflowClient") -> None:
        self.client = client

    @classmethod
    def connect(cls) -> Self:
        """Of MLFLOW_TRACKING_URI.

        Raises:
            OsteonError: it does not answer.

        """
        client, _ = store.connect()
        registry = cls(client)
        with translate_errors():
            for name, description in (
                (MODEL, "Finds fractures on radiographs. The alias champion is the version in use."),
                (
                    LOG,
                    "Why a version of osteon-fracture is in use: every decision, each with the hash of the one before.",
                ),
            ):
                registry._create_if_missing(name, description)
        return registry

    @classmethod
    def open_existing(cls) -> Self | None:
        """The registry, if the store has one; nothing is made."""
        client, _ = store.connect()
        with translate_errors():
            names = {model.name for model in client.search_registered_models(f"name LIKE '{MODEL}%'")}
        return cls(client) if {MODEL, LOG} <= names else None

    def _create_if_missing(self, name: str, description: str) -> None:
        try:
            self.client.create_registered_model(name, description=description)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    # ---------------------------------------------------------------- the log

    def entries(self) -> list[Entry]:
        """The decisions that hold, the first first.

        Raises:
            OsteonError: the log was changed.

        """
        entries: list[Entry] = []
        digests = {BEGINNING}
        with translate_errors():
            numbered = sorted(self._versions(LOG), key=lambda version: int(version.version))
        for version in numbered:
            try:
                entry = Entry.model_validate_json(version.tags.get(ENTRY, ""))
            except ValidationError:
                raise OsteonError(f"{LOG}/{version.version} is not an entry of Osteon's: the log was changed") from None
            if entry.before == (entries[-1].digest() if entries else BEGINNING):
                entries.append(entry)
                digests.add(entry.digest())
            elif entry.before not in digests:
                raise OsteonError(f"{LOG}/{version.version} does not follow the entry before it: the log was changed")
        return entries

    def state(self) -> State:
        """What the log says."""
        return self._states()[-1]

    def _states(self) -> list[State]:
        """From the beginning to now."""
        states = [State()]
        for entry in self.entries():
            states.append(states[-1].after(entry))
        return states

    def append(self, entry: Entry) -> bool:
        """Write an entry; False if another was written first since `entry.before`."""
        with translate_errors():
            # Of no run: MLflow's server takes none but the run that made the model. The entry names its own.
            self.client.create_model_version(
                LOG,
                f"models:/{MODEL}/{entry.version}",
                tags={ENTRY: entry.text()},
                description=f"{entry.action}: version {entry.version}. {entry.why}"[:DESCRIPTION],
            )
        return any(kept.digest() == entry.digest() for kept in self.entries())

    # ---------------------------------------------------------------- versions and aliases

    def aliases(self) -> dict[str, str]:
        """Alias → version."""
        with translate_errors():
            return {alias: str(number) for alias, number in self.client.get_registered_model(MODEL).aliases.items()}

    def reconcile_aliases(self) -> State:
        """Set the aliases as the log says, where a process died before it could.

        Raises:
            OsteonError: the alias champion was set by hand to a version that no process that died can have left there.

        """
        states = self._states()
        state, alias = states[-1], self.aliases().get(CHAMPION)
        before = next((past.champion for past in reversed(states) if past.champion != state.champion), None)
        if alias not in (state.champion, before):
            raise OsteonError(
                f"the alias {CHAMPION} of {MODEL} is at version {alias or 'none'}, the last decision says "
                f"{state.champion or 'none'}: somebody moved it; move it back, or make it a decision: "
                "osteon rollback --to …"
            )
        if alias != state.champion:
            log.warning("the last decision was not carried out; version %s is in use now", state.champion)
        return self.apply_log()

    def apply_log(self) -> State:
        """Set the aliases as the log says.

        The alias previous first: whoever reads between two calls finds a champion, the old or the new one.
        """
        state = self.state()
        self._set_aliases(state)
        # Another process may have decided in the meantime, and set them before this one did.
        while (newer := self.state()) != state:
            state = newer
            self._set_aliases(state)
        return state

    def _set_aliases(self, state: State) -> None:
        aliases = self.aliases()
        wanted = {PREVIOUS: state.previous, CHAMPION: state.champion}
        if aliases.get(CHALLENGER) == state.champion:
            wanted[CHALLENGER] = None
        for alias, version in wanted.items():
            if aliases.get(alias) == version:
                continue
            if version is not None:
                self.set_alias(alias, version)
            else:
                with translate_errors():
                    self.client.delete_registered_model_alias(MODEL, alias)

    def set_alias(self, alias: str, version: str) -> None:
        """Set an alias, which alone decides nothing."""
        with translate_errors():
            store.retry_once_on_conflict(lambda: self.client.set_registered_model_alias(MODEL, alias, version))

    def describe(self, version: str, text: str) -> None:
        """What MLflow's page of a version says."""
        with translate_errors():
            self.client.update_model_version(MODEL, version, description=text[:DESCRIPTION])

    def register(self, package: str, model_id: str, run_id: str, tags: dict[str, str]) -> str:
        """The version of a package; a new one if it has none yet.

        Args:
            package: DVC's hash of its folder.
            model_id: of the model that was logged from it.
            run_id: of the run that logged it.
            tags: of a new version.

        """
        with translate_errors():
            versions = self._of_package(package)
            if not versions:
                self.client.create_model_version(
                    MODEL, f"models:/{model_id}", run_id=run_id, model_id=model_id, tags={PACKAGE: package, **tags}
                )
                # Two may have done so at once: the first counts.
                versions = self._of_package(package)
        return min(versions, key=int)

    def decision_of(self, version: str, folder: Path) -> bool:
        """Fetch what the run that judged a version kept of it into a folder; False where no run did.

        Raises:
            UnreachableError: the server or the place where it keeps artifacts does not answer.

        """
        runs = [entry.run for entry in self.entries() if entry.version == version and entry.run]
        if not runs:
            return False
        with _translate_fetch_errors(f"the decision on {MODEL}/{version}"), TemporaryDirectory() as temporary:
            files = self.client.list_artifacts(runs[-1], "decision")
            for file in files:
                shutil.move(self.client.download_artifacts(runs[-1], file.path, temporary), folder)
        return bool(files)

    def versions_of_run(self, run_id: str) -> list[str]:
        """Those whose model a run logged."""
        with translate_errors():
            return [str(version.version) for version in self._versions(MODEL) if version.run_id == run_id]

    def _of_package(self, package: str) -> list[str]:
        return [str(version.version) for version in self._versions(MODEL) if version.tags.get(PACKAGE) == package]

    def _versions(self, name: str) -> list[Any]:
        versions: list[Any] = []
        token: str | None = None
        while True:
            page = self.client.search_model_versions(f"name = '{name}'", page_token=token)
            versions += page
            token = page.token
            if not token:
                return versions

    def package_of(self, version: str, folder: Path) -> Path:
        """Fetch the package of a version into a folder.

        Raises:
            UnreachableError: the server or the place where it keeps artifacts does not answer.
            OsteonError: no such version, not one of Osteon's, or its files are not those that were registered.

        """
        expected = self.tags(version).get(PACKAGE)
        if expected is None:
            raise OsteonError(f"{MODEL}/{version} was registered by hand: its original files are not known")
        # Without the code that MLflow keeps beside them, a hundred files.
        files = f"models:/{MODEL}/{version}/artifacts"
        packages: list[Path] = []
        with _translate_fetch_errors(f"{MODEL}/{version}: its files"):
            if list_artifacts(files):
                fetched = Path(download_artifacts(files, dst_path=str(folder)))
                packages = [path.parent for path in fetched.rglob("package.json")]
        if len(packages) != 1 or dvc_hash(packages[0]) != expected:
            raise OsteonError(f"{MODEL}/{version}: its files are missing or differ from those that were registered")
        return packages[0]

    def run_of(self, version: str) -> str | None:
        """The run that logged the model of a version; None where it was registered by hand from no run.

        Raises:
            OsteonError: there is none of this number.

        """
        with translate_errors():
            return self.client.get_model_version(MODEL, version).run_id or None

    def tags(self, version: str) -> dict[str, str]:
        """Of a version.

        Raises:
            OsteonError: there is none of this number.

        """
        with translate_errors():
            return dict(self.client.get_model_version(MODEL, version).tags)


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn an error of MLflow's into one line, and soon: whoever decides can run the command again."""
    try:
        with store.http_limits(Retries.SHORT):
            yield
    except MlflowException as error:
        raise store.outage_of(error) or OsteonError(f"MLflow's registry: {store.reason(error)}") from None


@contextmanager
def _translate_fetch_errors(what: str) -> Iterator[None]:
    """Turn the errors of fetching files from the store into one line."""
    try:
        with store.http_limits(Retries.SHORT, FETCH_TIMEOUT):
            yield
    # MLflow lets through what it meets on the way to the artifacts: OSError is that of requests, too.
    except (MlflowException, OSError, BotoCoreError, ClientError) as error:
        raise UnreachableError(f"{what} cannot be fetched ({store.reason(error)}); try again") from None


def current_user() -> str:
    """Who decides: the name that MLflow knows, or the user of this machine."""
    name = os.environ.get("OSTEON_WHO") or os.environ.get("MLFLOW_TRACKING_USERNAME")
    return name or f"{getpass.getuser()}@{platform.node()}"


def timestamp() -> datetime:
    """The present time, UTC; not rounded, so that two who decide the same in one second write two entries."""
    return datetime.now(UTC)
