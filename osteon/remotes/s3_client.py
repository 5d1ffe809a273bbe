"""A client of the S3 server that DVC uses, and its errors and refusals as one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
from botocore import exceptions
from botocore.config import Config
from botocore.exceptions import ClientError

from osteon.errors import OsteonError
from osteon.remotes.dvc_remote import Place

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


# What .dvc/config.local may have for DVC: who checks must be who pushes.
_SESSION = {
    "profile": "profile_name",
    "region": "region_name",
    "access_key_id": "aws_access_key_id",
    "secret_access_key": "aws_secret_access_key",
    "session_token": "aws_session_token",
}


def open_client(place: Place, remote: dict[str, Any]) -> "S3Client":
    """A client with the keys that DVC would use.

    Raises:
        OsteonError: no keys, or the endpoint is no address.

    """
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
        raise OsteonError(f"--endpoint-url {place.endpoint}: {_first_words(error)}") from None


@contextmanager
def translate_errors(place: Place) -> Iterator[None]:
    """Turn what boto3 raises when nobody answers, or answers with what no step expected, into one line."""
    where = place.endpoint or "AWS"
    try:
        yield
    except exceptions.PartialCredentialsError:
        raise OsteonError("of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY one is missing; set both") from None
    except exceptions.SSLError as error:
        raise OsteonError(
            f"{where}: its certificate is not trusted ({_first_words(error)}); "
            "AWS_CA_BUNDLE names the file of your own CA"
        ) from None
    except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
        raise OsteonError(
            f"{where} does not answer ({type(error).__name__}); check the address and the network"
        ) from None
    except exceptions.ClientError as error:
        raise OsteonError(f"{place.url}: {_message_of(error)}") from None
    except exceptions.BotoCoreError as error:
        raise OsteonError(f"{where}: {_first_words(error)}") from None


def _first_words(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def code_of(error: ClientError) -> str:
    """S3's name of an error, such as NoSuchBucket."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _message_of(error: ClientError) -> str:
    message = " ".join(str(error.response.get("Error", {}).get("Message", "")).split())
    return f"{code_of(error)}: {message[:200]}" if message else code_of(error)


_DENIED = ("AccessDenied", "AllAccessDisabled", "Forbidden", "403")
_KEYS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "RequestTimeTooSkewed")
REGION = (
    "PermanentRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "InvalidLocationConstraint",
    "301",
)


def refusal(error: ClientError, place: Place, what: str, permission: str, key: str = "") -> str:
    """Why something could not be done; where it was forbidden, which permission would have allowed it."""
    if code_of(error) in _DENIED:
        on = f"arn:aws:s3:::{place.bucket}" + (f"/{key}" if key else "")
        return f"{what}: refused ({_message_of(error)}); the permission {permission} on {on} is missing"
    return f"{what}: {_message_of(error)}"


def is_unsupported(error: ClientError, place: Place) -> bool:
    """Whether the server says that it does not know such a setting; MinIO and others lack some."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    known = code_of(error) in ("NotImplemented", "XNotImplemented", "MethodNotAllowed", "UnsupportedOperation")
    # Others take the question for one of those they know, and find its body wrong.
    return known or status in (405, 501) or (place.endpoint is not None and code_of(error) == "MalformedXML")


def why_not(error: ClientError, place: Place) -> str:
    """Why the bucket cannot be used, and what mends it."""
    if code_of(error) in _KEYS:
        return f"{place.url}: the server does not take these keys ({_message_of(error)}); check them, and the clock"
    if code_of(error) in REGION:
        headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        region = headers.get("x-amz-bucket-region") or error.response.get("Error", {}).get("Region")
        return f"{place.url}: the bucket is in another region ({_message_of(error)}); set AWS_DEFAULT_REGION" + (
            f"={region}" if region else ""
        )
    if code_of(error) in _DENIED:
        return (
            f"{place.url}: refused ({_message_of(error)}); either the bucket is somebody else's (choose another name), "
            f"or the permission s3:ListBucket on arn:aws:s3:::{place.bucket} is missing"
        )
    return f"{place.url}: {_message_of(error)}"
