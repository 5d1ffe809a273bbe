"""The address of the DVC remote on S3, and DVC's configuration of it."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from dvc.config import Config, ConfigError

from osteon.errors import OsteonError
from osteon.remotes.finding import Finding

REMOTE = "storage"


class Place(NamedTuple):
    """Where the remote is. The prefix has no slash at either end and may be empty; no endpoint is AWS itself."""

    bucket: str
    prefix: str
    endpoint: str | None

    @property
    def url(self) -> str:
        """As DVC writes it."""
        return "/".join(filter(None, (f"s3://{self.bucket}", self.prefix)))

    @property
    def folder(self) -> str:
        """What the keys begin with."""
        return f"{self.prefix}/" if self.prefix else ""


_BUCKET = re.compile(r"(?!\d+\.\d+\.\d+\.\d+$)(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def parse_place(url: str, endpoint_url: str | None = None) -> Place:
    """The place that an address names.

    Raises:
        OsteonError: not s3://BUCKET/PREFIX, a name that S3 does not allow, or an endpoint that is no address.

    """
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
        raise OsteonError(f"{url}: not an address of the form s3://BUCKET/PREFIX")
    if "@" in parts.netloc:
        raise OsteonError(
            "keys do not belong into the address, for git keeps it; give AWS_PROFILE or AWS_ACCESS_KEY_ID"
        )
    if not _BUCKET.fullmatch(parts.netloc):
        raise OsteonError(
            f"{url}: {parts.netloc!r} is no name for a bucket; 3 to 63 small letters, digits, dots and hyphens are"
        )
    for text in (url, endpoint_url or ""):
        if not text.isascii():
            raise OsteonError(f"{text}: DVC cannot write an address with letters beyond ASCII")
    if endpoint_url is not None:
        endpoint = urlsplit(endpoint_url)
        if endpoint.username or endpoint.password:
            raise OsteonError("keys do not belong into --endpoint-url, for git keeps it; give AWS_ACCESS_KEY_ID")
        if endpoint.scheme not in ("http", "https") or not endpoint.hostname:
            raise OsteonError(f"--endpoint-url {endpoint_url}: not an address of the form https://HOST:PORT")
    return Place(parts.netloc, parts.path.strip("/"), endpoint_url.rstrip("/") if endpoint_url else None)


def warn_if_unencrypted(place: Place) -> Iterator[Finding]:
    """A warning where films would travel in the open."""
    parts = urlsplit(place.endpoint or "")
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        yield Finding("warning", f"{place.endpoint} is not encrypted: everybody on the network path can read the films")


def _config() -> Any:
    try:
        config = Config.from_cwd()
    except ConfigError as error:
        raise OsteonError(f".dvc/config: {error}") from None
    if config.dvc_dir is None:
        raise OsteonError("no DVC project here; run this in the project's folder")
    return config


def default_remote() -> dict[str, Any]:
    """DVC's default remote as all its files together say it; empty where there is none."""
    config = _config()
    return dict(config["remote"].get(config["core"].get("remote"), {}))


def place_of(remote: dict[str, Any]) -> Place:
    """Where a remote of DVC's is.

    Raises:
        OsteonError: none is there, or it is not on S3.

    """
    url = str(remote.get("url", ""))
    if not url.startswith("s3://"):
        problem = f"DVC's remote is {url}, not on S3" if url else "DVC has no remote yet"
        raise OsteonError(f"{problem}; make one: osteon storage init s3://BUCKET/PREFIX")
    return parse_place(url, remote.get("endpointurl"))


def configure(place: Place) -> Iterator[Finding]:
    """Write the remote through DVC; keys are never written."""
    config = _config()
    wanted = {"url": place.url, "endpointurl": place.endpoint}
    known = config.read("repo")
    before = known["remote"].get(REMOTE, {})
    default = known["core"].get("remote")
    if default == REMOTE and {name: before.get(name) for name in wanted} == wanted:
        yield Finding("was", f"DVC's remote '{REMOTE}': {place.url}")
        return
    with config.edit("repo") as file:
        section = file["remote"].setdefault(REMOTE, {})
        section.update(wanted)
        if place.endpoint is None:
            del section["endpointurl"]
        file["core"]["remote"] = REMOTE
    text = f"DVC's remote '{REMOTE}': {place.url}, written into .dvc/config"
    if before.get("url", place.url) != place.url:
        text += f"; it was {before['url']}"
    if default not in (None, REMOTE):
        text += f"; the default was '{default}'"
    yield Finding("made", text)
    yield Finding("note", "now: git add .dvc/config && git commit -m 'DVC remote' && dvc push")
