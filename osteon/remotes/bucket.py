"""The DVC remote on S3: its bucket and settings, whether it can be used, and DVC's configuration for it.

`init` makes what is missing and weakens nothing: what is stricter than needed stays. `check` only reads. Each
gives a finding for each thing it looked at, as it comes; a refusal names the permission that is missing.
"""

import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from osteon.errors import OsteonError
from osteon.remotes.bucket_settings import SETTINGS, apply_setting
from osteon.remotes.dvc_remote import Place, configure, default_remote, parse_place, place_of, warn_if_unencrypted
from osteon.remotes.finding import Finding
from osteon.remotes.s3_client import REGION, code_of, open_client, refusal, translate_errors, why_not

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


def init(url: str | None = None, endpoint_url: str | None = None) -> Iterator[Finding]:
    """Make the bucket and its settings where they are missing, try it, and write it into .dvc/config.

    Args:
        url: s3://BUCKET/PREFIX; None: the remote that DVC has.
        endpoint_url: of an S3 server other than AWS.

    Raises:
        OsteonError: the address is wrong, nobody answers there, or the bucket cannot be used at all.

    """
    remote = default_remote()
    if url is None:
        if endpoint_url is not None:
            raise OsteonError("--endpoint-url needs an address too: osteon storage init s3://BUCKET/PREFIX …")
        place = place_of(remote)
    else:
        place = parse_place(url, endpoint_url)
    yield from warn_if_unencrypted(place)
    with translate_errors(place):
        client = open_client(place, remote)
        yield _ensure_bucket(client, place)
        for setting in SETTINGS:
            yield apply_setting(setting, client, place, make=True)
        yield _probe(client, place)
    yield from configure(place)


def check() -> Iterator[Finding]:
    """Look at the remote that DVC has, and change nothing.

    Raises:
        OsteonError: DVC has no remote on S3, nobody answers there, or the bucket cannot be listed.

    """
    remote = default_remote()
    place = place_of(remote)
    yield Finding("was", f"DVC's remote: {place.url}" + (f" at {place.endpoint}" if place.endpoint else ""))
    yield from warn_if_unencrypted(place)
    with translate_errors(place):
        client = open_client(place, remote)
        objects = _list_one_key(client, place)
        if objects is None:
            raise OsteonError(f"{place.url}: there is no bucket {place.bucket}; `osteon storage init` makes it")
        yield Finding("was", f"bucket {place.bucket}: is there, and can be listed")
        for setting in SETTINGS:
            yield apply_setting(setting, client, place, make=False)
        yield _check_reading(client, place, objects)


def _list_one_key(client: "S3Client", place: Place) -> list[str] | None:
    """One key of the remote, if there is any; None where there is no bucket.

    Listing shows more than HeadBucket, whose refusals have no reason.
    """
    try:
        page = client.list_objects_v2(Bucket=place.bucket, Prefix=place.folder, MaxKeys=1)
    except ClientError as error:
        if code_of(error) == "NoSuchBucket":
            return None
        raise OsteonError(why_not(error, place)) from None
    return [str(content["Key"]) for content in page.get("Contents", [])]


def _ensure_bucket(client: "S3Client", place: Place) -> Finding:
    if _list_one_key(client, place) is not None:
        return Finding("was", f"bucket {place.bucket}: is there")
    region = client.meta.region_name
    where: Any = {}
    if region not in (None, "us-east-1", "aws-global"):  # these are not named when a bucket is made
        where = {"CreateBucketConfiguration": {"LocationConstraint": region}}
    try:
        client.create_bucket(Bucket=place.bucket, **where)
    except ClientError as error:
        if code_of(error) == "BucketAlreadyExists":
            raise OsteonError(f"{place.url}: the bucket belongs to somebody else; choose another name") from None
        if code_of(error) in REGION:
            raise OsteonError(why_not(error, place)) from None
        raise OsteonError(refusal(error, place, f"bucket {place.bucket}", "s3:CreateBucket")) from None
    return Finding("made", f"bucket {place.bucket}: made" + (f" in {region}" if where else ""))


def _probe(client: "S3Client", place: Place) -> Finding:
    """Write an object, read it back, delete it: what dvc push, dvc pull and dvc gc do.

    Raises:
        OsteonError: a permission is missing, or what came back is something else.

    """
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
        raise OsteonError(refusal(error, place, what, permission, f"{place.folder}*")) from None
    if received != sent:
        raise OsteonError(
            f"{place.url}: an object was read back with other content than was written; the server cannot be trusted"
        )
    return Finding("was", "an object was written, read back and deleted")


def _check_reading(client: "S3Client", place: Place, keys: list[str]) -> Finding:
    if not keys:
        return Finding("note", "nothing was pushed yet, so nothing could be read")
    try:
        client.head_object(Bucket=place.bucket, Key=keys[0])
    except ClientError as error:
        return Finding("refused", refusal(error, place, "reading an object", "s3:GetObject", f"{place.folder}*"))
    return Finding("was", "an object can be read")
