"""Films by their hash, from the DVC remote of a git repository: what a step does that shares no folder with others.

Films are many small files, and DVC's remote keeps each once, by its content. So they do not travel from step to step:
what travels is the hash of their folder, and a step that reads films fetches them for as long as it runs.
"""

import errno
import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from osteon.errors import OsteonError, UnreachableError
from osteon.files import dvc_hash, remove
from osteon.progress import progress
from osteon.redaction import redact, redact_url

if TYPE_CHECKING:
    from dvc.repo import Repo

log = logging.getLogger(__name__)

REPOSITORY = "OSTEON_REPOSITORY"  # where the address has a password, it is not written anywhere else
AT_ONCE = 64  # files fetched from the remote together


@dataclass(frozen=True)
class FilmVersion:
    """What a revision says of a folder of films: commit, DVC's hash of the folder, how many files are in it."""

    commit: str
    data: str
    files: int


def repository_address(given: str) -> str:
    """The repository that is named, or that OSTEON_REPOSITORY names.

    Raises:
        OsteonError: neither does.

    """
    address = given or os.environ.get(REPOSITORY, "")
    if not address:
        raise OsteonError(f"no repository is named: give its address, or {REPOSITORY} where it has a password")
    return address


def find_version(repository: str, revision: str, root: str) -> FilmVersion:
    """What a revision of a repository says of its films; the list of them is read from the remote, no film is.

    Args:
        repository: address of a git repository with DVC, or a folder.
        revision: branch, tag or commit.
        root: the folder with the films, as data.root names it.

    Raises:
        OsteonError: no such revision, or DVC does not track the folder there.
        UnreachableError: repository or remote do not answer.

    """
    folder = PurePosixPath(root)
    if folder.is_absolute() or ".." in folder.parts:
        raise OsteonError(
            f"data.root = {root}: a cluster gets films from a repository with DVC; name their folder as it lies there"
        )
    with _opened(repository, revision) as repo:
        try:
            known: dict[str, Any] = repo.dvcfs.info(str(folder))
        except FileNotFoundError:
            known = {}
        data = known.get("md5") or ""
        if not data.endswith(".dir"):
            raise OsteonError(
                f"{redact_url(repository)} at {revision}: DVC tracks no folder {root} (data.root); "
                "`dvc add` it there, commit and push"
            )
        return FilmVersion(str(repo.get_rev()), data, len(_listed(repo, data)))


@contextmanager
def fetched(repository: str, revision: str, data: str, name: str = "films") -> Iterator[Path]:
    """Fetch films into a folder that is there as long as the block runs.

    Args:
        repository: as for find_version.
        revision: whose DVC remote is read; the films are those of the hash, whatever the revision has by now.
        data: DVC's hash of the folder.
        name: that the folder gets.

    Raises:
        OsteonError: the remote does not have them whole, or the disk cannot hold them.
        UnreachableError: repository or remote do not answer.

    """
    with TemporaryDirectory(prefix="osteon-") as temporary:
        folder = Path(temporary) / name
        folder.mkdir()
        with _opened(repository, revision) as repo:
            _fetch(repo, data, folder)
        if (digest := dvc_hash(folder)) != data:
            raise OsteonError(
                f"the films that DVC's remote of {redact_url(repository)} gave are not the requested ones: their "
                f"hash is {digest}, not {data}; a file of the remote is damaged: `dvc push` it again"
            )
        yield folder


def file_hash(repository: str, revision: str, path: str) -> str:
    """DVC's hash of a file that DVC or git keeps at a revision; empty where there is none.

    Raises:
        OsteonError: no such revision.
        UnreachableError: repository or remote do not answer.

    """
    with _opened(repository, revision) as repo:
        if not repo.dvcfs.isfile(path):
            return ""
        if md5 := repo.dvcfs.info(path).get("md5"):
            return str(md5)
        with repo.dvcfs.open(path, "rb") as file:  # git's own, which is small
            return hashlib.md5(file.read(), usedforsecurity=False).hexdigest()


def fetch_file(repository: str, revision: str, path: str, md5: str, to: Path) -> None:
    """Fetch a file that DVC or git keeps at a revision.

    Args:
        repository: as for find_version.
        revision: of the file.
        path: in the repository.
        md5: DVC's hash of it, as file_hash found it.
        to: where it is written.

    Raises:
        OsteonError: no such revision or file, or it is another one by now.
        UnreachableError: repository or remote do not answer.

    """
    to.parent.mkdir(parents=True, exist_ok=True)
    with _opened(repository, revision) as repo:
        if repo.dvcfs.isfile(path):
            repo.dvcfs.get_file(path, str(to))
    if not to.is_file() or dvc_hash(to) != md5:
        remove(to)
        raise OsteonError(
            f"{path} of {redact_url(repository)} at {revision} is not the one that this run began with ({md5}); it "
            "was changed meanwhile: submit a new run"
        )


def _fetch(repo: "Repo", data: str, folder: Path) -> None:
    odb = repo.cloud.get_remote_odb(hash_name="md5")
    places = [(odb.oid_to_path(md5), folder / path) for path, md5 in _listed(repo, data)]
    for parent in {to.parent for _, to in places}:
        parent.mkdir(parents=True, exist_ok=True)
    blocks = [places[start : start + AT_ONCE] for start in range(0, len(places), AT_ONCE)]
    for block in progress(blocks, "films", total=len(blocks)):
        try:
            odb.fs.get([remote for remote, _ in block], [str(to) for _, to in block])
        except FileNotFoundError as error:
            raise OsteonError(f"DVC's remote lacks a film of {data} ({error}); `dvc push` it") from None
    log.info("%d films fetched", len(places))


@contextmanager
def _opened(repository: str, revision: str) -> "Iterator[Repo]":
    """A revision of the repository, cloned for as long as it is needed."""
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo.open_repo import open_repo
    from dvc.scm import CloneError, RevError

    shown = redact_url(repository)
    # open_repo takes a folder as it is, with what was not committed; as an address it is cloned.
    address = f"file://{Path(repository).resolve()}" if Path(repository).is_dir() else repository
    try:
        with open_repo(address, rev=revision) as repo:
            yield repo
    except RevError:
        raise OsteonError(f"{shown} has no revision {revision}") from None
    except NotDvcRepoError:
        raise OsteonError(f"{shown} at {revision} has no DVC; `dvc init` there, add the films and a remote") from None
    except CloneError as error:
        cause: BaseException | None = error.__cause__
        while cause is not None and cause.__cause__ is not None:
            cause = cause.__cause__
        why = f" ({redact(str(cause), repository).splitlines()[0][:200]})" if cause and str(cause) else ""
        raise UnreachableError(f"{shown} cannot be cloned{why}; check the address and the rights to read it") from None
    except OsteonError:
        raise
    # Whatever the remote's own library raises: each kind of remote has one.
    except Exception as error:
        reason = (redact(str(error), repository).splitlines() or [""])[0][:200]
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        kind = OsteonError if full else UnreachableError
        raise kind(f"the films of {shown} cannot be fetched ({type(error).__name__}: {reason})") from None


def _listed(repo: "Repo", data: str) -> list[tuple[Path, str]]:
    """Path in the folder and md5 of every file of a folder with this hash, from the remote."""
    from dvc.config import NoRemoteError, RemoteConfigError
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import Tree
    from dvc_objects.errors import ObjectFormatError

    try:
        odb = repo.cloud.get_remote_odb(hash_name="md5")
        tree = Tree.load(odb, HashInfo("md5", data), hash_name="md5")
    except (NoRemoteError, RemoteConfigError) as error:
        raise OsteonError(f"the repository has no DVC remote that can be used: {error}") from None
    except (FileNotFoundError, ObjectFormatError):
        raise OsteonError(f"DVC's remote does not have the films {data}; `dvc push` them from where they are") from None
    return [(Path(*key), str(digest.value)) for key, _, digest in tree]
