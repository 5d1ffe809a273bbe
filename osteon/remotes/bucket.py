"""The DVC remote on S3: its bucket and settings, whether it can be used, and DVC's configuration for it.

`init` makes what is missing and weakens nothing: what is stricter than asked for stays. `check` only reads. Each
gives a finding for each thing it looked at, as it comes; a refusal names the permission that is missing.
"""

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from osteon.errors import OsteonError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from types_boto3_s3 import S3Client

REMOTE = "storage"
DAYS = 7  # until what an interrupted upload left is deleted
RULE = "osteon-incomplete-uploads"

State = Literal["was", "made", "missing", "refused", "unsupported", "warning", "note"]
MARKS: dict[State, str] = {
    "was": "✓",
    "made": "✓",
    "missing": "✗",
    "refused": "✗",
    "unsupported": "–",
    "warning": "!",
    "note": " ",
}
WRONG: tuple[State, ...] = ("missing", "refused")


class Finding(NamedTuple):
    """What was found or done about one thing."""

    state: State
    text: str

    def line(self) -> str:
        """For a person."""
        return f"{MARKS[self.state]} {self.text}"


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


def init(url: str | None = None, endpoint_url: str | None = None) -> Iterator[Finding]:
    """Make the bucket and its settings where they are missing, try it, and write it into .dvc/config.

    Args:
        url: s3://BUCKET/PREFIX; None: the remote that DVC has.
        endpoint_url: of an S3 server other than AWS.

    Raises:
        OsteonError: the address is wrong, nobody answers there, or the bucket cannot be used at all.

    """
    remote = _remote()
    if url is None:
        if endpoint_url is not None:
            raise OsteonError("--endpoint-url needs an address too: osteon storage init s3://BUCKET/PREFIX …")
        place = _place_of(remote)
    else:
        place = parse_place(url, endpoint_url)
    yield from _unencrypted(place)
    with _told(place):
        client = _client(place, remote)
        yield _made_bucket(client, place)
        for setting in SETTINGS:
            yield _see_to(setting, client, place, make=True)
        yield _probe(client, place)
    yield from _configure(place)


def check() -> Iterator[Finding]:
    """Look at the remote that DVC has, and change nothing.

    Raises:
        OsteonError: DVC has no remote on S3, nobody answers there, or the bucket cannot be listed.

    """
    remote = _remote()
    place = _place_of(remote)
    yield Finding("was", f"DVC's remote: {place.url}" + (f" at {place.endpoint}" if place.endpoint else ""))
    yield from _unencrypted(place)
    with _told(place):
        client = _client(place, remote)
        objects = _list(client, place)
        if objects is None:
            raise OsteonError(f"{place.url}: there is no bucket {place.bucket}; `osteon storage init` makes it")
        yield Finding("was", f"bucket {place.bucket}: is there, and can be listed")
        for setting in SETTINGS:
            yield _see_to(setting, client, place, make=False)
        yield _readable(client, place, objects)


# ---------------------------------------------------------------- addresses

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


def _unencrypted(place: Place) -> Iterator[Finding]:
    parts = urlsplit(place.endpoint or "")
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        yield Finding("warning", f"{place.endpoint} is not encrypted: everybody on the network path can read the films")


# ---------------------------------------------------------------- DVC's configuration


def _config() -> Any:
    from dvc.config import Config, ConfigError

    try:
        config = Config.from_cwd()
    except ConfigError as error:
        raise OsteonError(f".dvc/config: {error}") from None
    if config.dvc_dir is None:
        raise OsteonError("no DVC project here; run this in the project's folder")
    return config


def _remote() -> dict[str, Any]:
    """DVC's default remote as all its files together say it; empty where there is none."""
    config = _config()
    return dict(config["remote"].get(config["core"].get("remote"), {}))


def _place_of(remote: dict[str, Any]) -> Place:
    url = str(remote.get("url", ""))
    if not url.startswith("s3://"):
        said = f"DVC's remote is {url}, not on S3" if url else "DVC has no remote yet"
        raise OsteonError(f"{said}; make one: osteon storage init s3://BUCKET/PREFIX")
    return parse_place(url, remote.get("endpointurl"))


def _configure(place: Place) -> Iterator[Finding]:
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
    told = f"DVC's remote '{REMOTE}': {place.url}, written into .dvc/config"
    if before.get("url", place.url) != place.url:
        told += f"; it was {before['url']}"
    if default not in (None, REMOTE):
        told += f"; the default was '{default}'"
    yield Finding("made", told)
    yield Finding("note", "now: git add .dvc/config && git commit -m 'DVC remote' && dvc push")


# ---------------------------------------------------------------- the server


# What DVC may have been told in .dvc/config.local: who asks must be who pushes.
_SESSION = {
    "profile": "profile_name",
    "region": "region_name",
    "access_key_id": "aws_access_key_id",
    "secret_access_key": "aws_secret_access_key",
    "session_token": "aws_session_token",
}


def _client(place: Place, remote: dict[str, Any]) -> "S3Client":
    import boto3
    from botocore.config import Config

    session = boto3.Session(**{_SESSION[name]: value for name, value in remote.items() if name in _SESSION})
    if session.get_credentials() is None:
        raise OsteonError(
            "no keys for S3 were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, "
            "or run `aws configure`"
        )
    config = Config(connect_timeout=10, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 3})
    try:
        return session.client("s3", endpoint_url=place.endpoint, config=config)
    except ValueError as error:
        raise OsteonError(f"--endpoint-url {place.endpoint}: {_short(error)}") from None


@contextmanager
def _told(place: Place) -> Iterator[None]:
    """Turn what boto3 raises when nobody answers, or answers with what no step expected, into one line."""
    from botocore import exceptions

    where = place.endpoint or "AWS"
    try:
        yield
    except exceptions.PartialCredentialsError:
        raise OsteonError("of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY one is missing; set both") from None
    except exceptions.SSLError as error:
        raise OsteonError(
            f"{where}: its certificate is not trusted ({_short(error)}); AWS_CA_BUNDLE names the file of your own CA"
        ) from None
    except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
        raise OsteonError(
            f"{where} does not answer ({type(error).__name__}); check the address and the network"
        ) from None
    except exceptions.ClientError as error:
        raise OsteonError(f"{place.url}: {_said(error)}") from None
    except exceptions.BotoCoreError as error:
        raise OsteonError(f"{where}: {_short(error)}") from None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _code(error: "ClientError") -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _said(error: "ClientError") -> str:
    message = " ".join(str(error.response.get("Error", {}).get("Message", "")).split())
    return f"{_code(error)}: {message[:200]}" if message else _code(error)


_DENIED = ("AccessDenied", "AllAccessDisabled", "Forbidden", "403")
_KEYS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "RequestTimeTooSkewed")
_REGION = (
    "PermanentRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "InvalidLocationConstraint",
    "301",
)


def _refusal(error: "ClientError", place: Place, what: str, permission: str, key: str = "") -> str:
    """Why something could not be done; where it was forbidden, which permission would have allowed it."""
    if _code(error) in _DENIED:
        on = f"arn:aws:s3:::{place.bucket}" + (f"/{key}" if key else "")
        return f"{what}: refused ({_said(error)}); the permission {permission} on {on} is missing"
    return f"{what}: {_said(error)}"


def _unsupported(error: "ClientError", place: Place) -> bool:
    """Whether the server says that it does not know such a setting; MinIO and others lack some."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    known = _code(error) in ("NotImplemented", "XNotImplemented", "MethodNotAllowed", "UnsupportedOperation")
    # Others take the question for one of those they know, and find its body wrong.
    return known or status in (405, 501) or (place.endpoint is not None and _code(error) == "MalformedXML")


# ---------------------------------------------------------------- the bucket


def _list(client: "S3Client", place: Place) -> list[str] | None:
    """One key of the remote, if there is any; None where there is no bucket.

    Listing tells more than HeadBucket, whose refusals have no reason.
    """
    from botocore.exceptions import ClientError

    try:
        page = client.list_objects_v2(Bucket=place.bucket, Prefix=place.folder, MaxKeys=1)
    except ClientError as error:
        if _code(error) == "NoSuchBucket":
            return None
        raise OsteonError(_why_not(error, place)) from None
    return [str(one["Key"]) for one in page.get("Contents", [])]


def _why_not(error: "ClientError", place: Place) -> str:
    if _code(error) in _KEYS:
        return f"{place.url}: the server does not take these keys ({_said(error)}); check them, and the clock"
    if _code(error) in _REGION:
        headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        region = headers.get("x-amz-bucket-region") or error.response.get("Error", {}).get("Region")
        return f"{place.url}: the bucket is in another region ({_said(error)}); set AWS_DEFAULT_REGION" + (
            f"={region}" if region else ""
        )
    if _code(error) in _DENIED:
        return (
            f"{place.url}: refused ({_said(error)}); either the bucket is somebody else's (choose another name), "
            f"or the permission s3:ListBucket on arn:aws:s3:::{place.bucket} is missing"
        )
    return f"{place.url}: {_said(error)}"


def _made_bucket(client: "S3Client", place: Place) -> Finding:
    from botocore.exceptions import ClientError

    if _list(client, place) is not None:
        return Finding("was", f"bucket {place.bucket}: is there")
    region = client.meta.region_name
    where: Any = {}
    if region not in (None, "us-east-1", "aws-global"):  # these are not named when a bucket is made
        where = {"CreateBucketConfiguration": {"LocationConstraint": region}}
    try:
        client.create_bucket(Bucket=place.bucket, **where)
    except ClientError as error:
        if _code(error) == "BucketAlreadyExists":
            raise OsteonError(f"{place.url}: the bucket belongs to somebody else; choose another name") from None
        if _code(error) in _REGION:
            raise OsteonError(_why_not(error, place)) from None
        raise OsteonError(_refusal(error, place, f"bucket {place.bucket}", "s3:CreateBucket")) from None
    return Finding("made", f"bucket {place.bucket}: made" + (f" in {region}" if where else ""))


class Setting(NamedTuple):
    """A setting of the bucket.

    look gives what it is in words, or None where it is not as it should be; make makes it so.
    """

    name: str
    made: str
    look: "Callable[[S3Client, Place], str | None]"
    make: "Callable[[S3Client, Place], None]"
    reading: str
    writing: str


def _see_to(setting: Setting, client: "S3Client", place: Place, *, make: bool) -> Finding:
    from botocore.exceptions import ClientError

    permission = setting.reading
    try:
        found = setting.look(client, place)
        if found is not None:
            return Finding("was", f"{setting.name}: {found}")
        if not make:
            return Finding("missing", f"{setting.name}: missing; `osteon storage init` sets it")
        permission = setting.writing
        setting.make(client, place)
    except ClientError as error:
        if _unsupported(error, place):
            return Finding("unsupported", f"{setting.name}: not supported by this server ({_code(error)})")
        return Finding("refused", _refusal(error, place, setting.name, permission))
    return Finding("made", f"{setting.name}: {setting.made}")


def _absent(error: "ClientError", code: str) -> None:
    """Go on where the server says that nothing is set; any other error is one."""
    if _code(error) != code:
        raise error


def _versioning(client: "S3Client", place: Place) -> str | None:
    return "on" if client.get_bucket_versioning(Bucket=place.bucket).get("Status") == "Enabled" else None


def _version(client: "S3Client", place: Place) -> None:
    client.put_bucket_versioning(Bucket=place.bucket, VersioningConfiguration={"Status": "Enabled"})


def _encryption(client: "S3Client", place: Place) -> str | None:
    """Whatever is set is kept: a key of one's own (KMS) is stricter than what would be set here."""
    from botocore.exceptions import ClientError

    try:
        found = client.get_bucket_encryption(Bucket=place.bucket)
    except ClientError as error:
        _absent(error, "ServerSideEncryptionConfigurationNotFoundError")
        return None
    rules = found.get("ServerSideEncryptionConfiguration", {}).get("Rules", [])
    kinds = [rule.get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm") for rule in rules]
    return ", ".join(str(kind) for kind in kinds if kind) or None


def _encrypt(client: "S3Client", place: Place) -> None:
    client.put_bucket_encryption(
        Bucket=place.bucket,
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        },
    )


_BLOCKED = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


def _public(client: "S3Client", place: Place) -> str | None:
    from botocore.exceptions import ClientError

    try:
        found: Any = client.get_public_access_block(Bucket=place.bucket)
    except ClientError as error:
        _absent(error, "NoSuchPublicAccessBlockConfiguration")
        return None
    blocked = found.get("PublicAccessBlockConfiguration", {})
    return "blocked" if all(blocked.get(name) for name in _BLOCKED) else None


def _block_public(client: "S3Client", place: Place) -> None:
    client.put_public_access_block(
        Bucket=place.bucket,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        },
    )


def _rules(client: "S3Client", place: Place) -> dict[str, Any]:
    """The lifecycle as it is, in the form in which it is put."""
    from botocore.exceptions import ClientError

    try:
        found: Any = client.get_bucket_lifecycle_configuration(Bucket=place.bucket)
    except ClientError as error:
        _absent(error, "NoSuchLifecycleConfiguration")
        return {"Rules": []}
    # Left out, this would go back to its default.
    kept = {name: found[name] for name in ("TransitionDefaultMinimumObjectSize",) if name in found}
    return {"Rules": found.get("Rules", []), **kept}


def _lifecycle(client: "S3Client", place: Place) -> str | None:
    for rule in _rules(client, place)["Rules"]:
        days = rule.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation")
        # Under 'Filter', or beside it in rules of the older form; a filter by tag or size has neither.
        only = rule.get("Filter", {"Prefix": rule.get("Prefix", "")})
        prefix = only.get("Prefix", "") if set(only) <= {"Prefix"} else None
        if days and rule.get("Status") == "Enabled" and prefix is not None and place.folder.startswith(prefix):
            return f"deleted after {days} days"
    return None


def _expire(client: "S3Client", place: Place) -> None:
    """One rule more; those that are there stay as they are."""
    found = _rules(client, place)
    rules = [rule for rule in found.pop("Rules") if rule.get("ID") != RULE]
    # A lifecycle is all of the older form or all of the newer.
    older = any("Filter" not in rule for rule in rules)
    where = {"Prefix": place.folder} if older else {"Filter": {"Prefix": place.folder}}
    ours = {"ID": RULE, "Status": "Enabled", **where}
    ours["AbortIncompleteMultipartUpload"] = {"DaysAfterInitiation": DAYS}
    found["LifecycleConfiguration"] = {"Rules": [*rules, ours]}
    client.put_bucket_lifecycle_configuration(Bucket=place.bucket, **found)


SETTINGS = (
    Setting(
        "versioning",
        "turned on",
        _versioning,
        _version,
        "s3:GetBucketVersioning",
        "s3:PutBucketVersioning",
    ),
    Setting(
        "encryption by default",
        "set to AES256",
        _encryption,
        _encrypt,
        "s3:GetEncryptionConfiguration",
        "s3:PutEncryptionConfiguration",
    ),
    Setting(
        "access by the public",
        "blocked now",
        _public,
        _block_public,
        "s3:GetBucketPublicAccessBlock",
        "s3:PutBucketPublicAccessBlock",
    ),
    Setting(
        "leftovers of interrupted uploads",
        f"will be deleted after {DAYS} days",
        _lifecycle,
        _expire,
        "s3:GetLifecycleConfiguration",
        "s3:PutLifecycleConfiguration",
    ),
)


# ---------------------------------------------------------------- can it be used


def _probe(client: "S3Client", place: Place) -> Finding:
    """Write an object, read it back, delete it: what dvc push, dvc pull and dvc gc do.

    Raises:
        OsteonError: a permission is missing, or what came back is something else.

    """
    from botocore.exceptions import ClientError

    key, sent = f"{place.folder}.osteon-probe-{secrets.token_hex(8)}", secrets.token_bytes(1024)
    what, permission = "writing an object", "s3:PutObject"
    try:
        version = client.put_object(Bucket=place.bucket, Key=key, Body=sent).get("VersionId")
        what, permission = "reading the object back", "s3:GetObject"
        received = client.get_object(Bucket=place.bucket, Key=key)["Body"].read()
        what, permission = f"deleting the object {key}", "s3:DeleteObject"
        which: Any = {}
        if version:
            # Without its version it would be hidden, and stay.
            permission, which = "s3:DeleteObjectVersion", {"VersionId": version}
        client.delete_object(Bucket=place.bucket, Key=key, **which)
    except ClientError as error:
        raise OsteonError(_refusal(error, place, what, permission, f"{place.folder}*")) from None
    if received != sent:
        raise OsteonError(
            f"{place.url}: an object was read back with other content than was written; the server cannot be trusted"
        )
    return Finding("was", "an object was written, read back and deleted")


def _readable(client: "S3Client", place: Place, keys: list[str]) -> Finding:
    from botocore.exceptions import ClientError

    if not keys:
        return Finding("note", "nothing was pushed yet, so nothing could be read")
    try:
        client.head_object(Bucket=place.bucket, Key=keys[0])
    except ClientError as error:
        return Finding("refused", _refusal(error, place, "reading an object", "s3:GetObject", f"{place.folder}*"))
    return Finding("was", "an object can be read")
