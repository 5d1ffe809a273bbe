"""The settings of a bucket with films: what each is, and what makes it so. What is stricter than needed stays."""

from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import ClientError

from osteon.remotes.dvc_remote import Place
from osteon.remotes.finding import Finding
from osteon.remotes.s3_client import code_of, is_unsupported, refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from types_boto3_s3 import S3Client

DAYS = 7  # until what an interrupted upload left is deleted
RULE = "osteon-incomplete-uploads"


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


def apply_setting(setting: Setting, client: "S3Client", place: Place, *, make: bool) -> Finding:
    """Look at a setting and, if it is to be made, set it where it is missing."""
    permission = setting.reading
    try:
        present = setting.look(client, place)
        if present is not None:
            return Finding("was", f"{setting.name}: {present}")
        if not make:
            return Finding("missing", f"{setting.name}: missing; `osteon storage init` sets it")
        permission = setting.writing
        setting.make(client, place)
    except ClientError as error:
        if is_unsupported(error, place):
            return Finding("unsupported", f"{setting.name}: not supported by this server ({code_of(error)})")
        return Finding("refused", refusal(error, place, setting.name, permission))
    return Finding("made", f"{setting.name}: {setting.made}")


def _raise_unless(error: "ClientError", code: str) -> None:
    """Go on where the server says that nothing is set; raise any other error."""
    if code_of(error) != code:
        raise error


def _read_versioning(client: "S3Client", place: Place) -> str | None:
    return "on" if client.get_bucket_versioning(Bucket=place.bucket).get("Status") == "Enabled" else None


def _turn_on_versioning(client: "S3Client", place: Place) -> None:
    client.put_bucket_versioning(Bucket=place.bucket, VersioningConfiguration={"Status": "Enabled"})


def _read_encryption(client: "S3Client", place: Place) -> str | None:
    """Whatever is set is kept: a key of one's own (KMS) is stricter than what would be set here."""
    try:
        response = client.get_bucket_encryption(Bucket=place.bucket)
    except ClientError as error:
        _raise_unless(error, "ServerSideEncryptionConfigurationNotFoundError")
        return None
    rules = response.get("ServerSideEncryptionConfiguration", {}).get("Rules", [])
    kinds = [rule.get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm") for rule in rules]
    return ", ".join(str(kind) for kind in kinds if kind) or None


def _turn_on_encryption(client: "S3Client", place: Place) -> None:
    client.put_bucket_encryption(
        Bucket=place.bucket,
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        },
    )


_BLOCKED = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


def _read_public_access(client: "S3Client", place: Place) -> str | None:
    try:
        response: Any = client.get_public_access_block(Bucket=place.bucket)
    except ClientError as error:
        _raise_unless(error, "NoSuchPublicAccessBlockConfiguration")
        return None
    blocked = response.get("PublicAccessBlockConfiguration", {})
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


def _read_lifecycle(client: "S3Client", place: Place) -> dict[str, Any]:
    """The lifecycle as it is, in the form in which it is put."""
    try:
        response: Any = client.get_bucket_lifecycle_configuration(Bucket=place.bucket)
    except ClientError as error:
        _raise_unless(error, "NoSuchLifecycleConfiguration")
        return {"Rules": []}
    # Left out, this would go back to its default.
    kept = {name: response[name] for name in ("TransitionDefaultMinimumObjectSize",) if name in response}
    return {"Rules": response.get("Rules", []), **kept}


def _find_upload_rule(client: "S3Client", place: Place) -> str | None:
    for rule in _read_lifecycle(client, place)["Rules"]:
        days = rule.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation")
        # Under 'Filter', or beside it in rules of the older form; a filter by tag or size has neither.
        only = rule.get("Filter", {"Prefix": rule.get("Prefix", "")})
        prefix = only.get("Prefix", "") if set(only) <= {"Prefix"} else None
        if days and rule.get("Status") == "Enabled" and prefix is not None and place.folder.startswith(prefix):
            return f"deleted after {days} days"
    return None


def _add_upload_rule(client: "S3Client", place: Place) -> None:
    """One rule more; those that are there stay as they are."""
    lifecycle = _read_lifecycle(client, place)
    rules = [rule for rule in lifecycle.pop("Rules") if rule.get("ID") != RULE]
    # A lifecycle is all of the older form or all of the newer.
    older = any("Filter" not in rule for rule in rules)
    where = {"Prefix": place.folder} if older else {"Filter": {"Prefix": place.folder}}
    ours = {"ID": RULE, "Status": "Enabled", **where}
    ours["AbortIncompleteMultipartUpload"] = {"DaysAfterInitiation": DAYS}
    lifecycle["LifecycleConfiguration"] = {"Rules": [*rules, ours]}
    client.put_bucket_lifecycle_configuration(Bucket=place.bucket, **lifecycle)


SETTINGS = (
    Setting(
        "versioning",
        "turned on",
        _read_versioning,
        _turn_on_versioning,
        "s3:GetBucketVersioning",
        "s3:PutBucketVersioning",
    ),
    Setting(
        "encryption by default",
        "set to AES256",
        _read_encryption,
        _turn_on_encryption,
        "s3:GetEncryptionConfiguration",
        "s3:PutEncryptionConfiguration",
    ),
    Setting(
        "access by the public",
        "blocked now",
        _read_public_access,
        _block_public,
        "s3:GetBucketPublicAccessBlock",
        "s3:PutBucketPublicAccessBlock",
    ),
    Setting(
        "leftovers of interrupted uploads",
        f"will be deleted after {DAYS} days",
        _find_upload_rule,
        _add_upload_rule,
        "s3:GetLifecycleConfiguration",
        "s3:PutLifecycleConfiguration",
    ),
)
