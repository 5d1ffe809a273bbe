"""An output that DVC knows and that is not there: from where it can be brought back."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from osteon.errors import OsteonError
from osteon.redaction import redact

if TYPE_CHECKING:
    from dvc.repo import Repo


def command_for_lost(path: Path) -> str | None:
    """The command that brings back a file that DVC keeps and that is not there.

    Args:
        path: of the file.

    Returns:
        the command; None: DVC does not know the file, or neither its cache nor a remote has it.

    Raises:
        OsteonError: the remote, which may have it, does not answer.

    """
    known = _known_hash(path.resolve())
    if known is None:
        return None
    root, md5 = known
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        if repo.cache.local.exists(md5):
            return f"dvc checkout {path}"
        return f"dvc pull {path}" if _remote_has(repo, md5) else None


def _known_hash(path: Path) -> tuple[Path, str] | None:
    """The project's folder and DVC's hash of a file, from the dvc.lock above it or the .dvc file beside it."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    beside = path.with_name(f"{path.name}.dvc")
    for file in (beside, *(folder / "dvc.lock" for folder in path.parents)):
        try:
            content: dict[str, Any] = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
            outs = [out for stage in content.get("stages", {"": content}).values() for out in stage.get("outs", ())]
            found = [out["md5"] for out in outs if (file.parent / out["path"]).resolve() == path]
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, UnicodeDecodeError, YAMLError, AttributeError, TypeError, KeyError) as error:
            raise OsteonError(f"{file}: cannot be read ({type(error).__name__}); `git checkout {file}`") from None
        if found:
            return file.parent, str(found[0])
    return None


def _remote_has(repo: "Repo", md5: str) -> bool:
    from dvc.config import NoRemoteError

    try:
        odb = repo.cloud.get_remote_odb(hash_name="md5")
        if odb.exists(md5):
            return True
    except NoRemoteError:
        return False
    # Whatever the remote's own library raises: each kind of remote has one.
    except Exception as error:
        reason = (redact(str(error)).splitlines() or [""])[0][:200]
        raise OsteonError(f"DVC's remote does not answer ({type(error).__name__}: {reason})") from None
    # Its library takes a server that is down for one that lacks the file.
    if str(odb.fs.protocol).startswith("http"):
        raise OsteonError("DVC's remote does not answer, or does not have it")
    return False
