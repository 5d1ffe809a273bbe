"""The DVC remote on S3, against a server that speaks S3 and can be told to refuse."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osteon.errors import OsteonError
from osteon.remotes.bucket import check, init
from osteon.remotes.bucket_settings import SETTINGS as ALL
from osteon.remotes.dvc_remote import parse_place
from osteon.remotes.finding import Finding
from tests.command import osteon
from tests.s3 import KEYS, S3, UNSET, error, s3_server
from tests.stores import free_port

URL = "s3://films/osteon"
SETTINGS = {
    "versioning": ("s3:GetBucketVersioning", "s3:PutBucketVersioning"),
    "encryption by default": ("s3:GetEncryptionConfiguration", "s3:PutEncryptionConfiguration"),
    "access by the public": ("s3:GetBucketPublicAccessBlock", "s3:PutBucketPublicAccessBlock"),
    "leftovers of interrupted uploads": ("s3:GetLifecycleConfiguration", "s3:PutLifecycleConfiguration"),
}


SETTING = {setting.name: setting for setting in ALL}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty DVC project, the current folder; the user's own DVC configuration is out of sight."""
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "global"))
    monkeypatch.setenv("DVC_SYSTEM_CONFIG_DIR", str(tmp_path / "system"))
    folder = tmp_path / "project"
    (folder / ".dvc").mkdir(parents=True)
    (folder / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def s3(project: Path) -> Iterator[S3]:
    with s3_server() as server:
        yield server


def states(findings: list[Finding]) -> dict[str, str]:
    """What each finding is about → its state."""
    return {finding.text.split(":")[0]: finding.state for finding in findings}


def made(s3: S3, url: str = URL) -> list[Finding]:
    return list(init(url, s3.endpoint))


def settings_of(s3: S3, bucket: str = "films") -> dict[str, Any]:
    """All that was ever set on a bucket, and all that lies in it, asked of the server itself."""
    result: dict[str, Any] = {}
    requested = {
        "versioning": s3.client.get_bucket_versioning,
        "encryption": s3.client.get_bucket_encryption,
        "public": s3.client.get_public_access_block,
        "lifecycle": s3.client.get_bucket_lifecycle_configuration,
        "objects": s3.client.list_object_versions,
    }
    for name, ask in requested.items():
        try:
            result[name] = {key: value for key, value in ask(Bucket=bucket).items() if key != "ResponseMetadata"}
        except s3.client.exceptions.ClientError as refusal:
            result[name] = refusal.response["Error"]["Code"]
    return result


# ---------------------------------------------------------------- init


def test_a_bucket_is_made_with_all_its_settings_and_tried(s3: S3, project: Path) -> None:
    result = made(s3)
    assert {finding.state for finding in result[:-1]} == {"made", "was"}
    assert [finding.text for finding in result] == [
        "bucket films: made",
        "versioning: turned on",
        "encryption by default: set to AES256",
        "access by the public: blocked now",
        "leftovers of interrupted uploads: will be deleted after 7 days",
        "an object was written, read back and deleted",
        "DVC's remote 'storage': s3://films/osteon, written into .dvc/config",
        "now: git add .dvc/config && git commit -m 'DVC remote' && dvc push",
    ]
    is_now = settings_of(s3)
    assert is_now["versioning"]["Status"] == "Enabled"
    (rule,) = is_now["encryption"]["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert set(is_now["public"]["PublicAccessBlockConfiguration"].values()) == {True}
    (rule,) = is_now["lifecycle"]["Rules"]
    assert rule["Status"] == "Enabled"
    assert rule["Filter"] == {"Prefix": "osteon/"}
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    # The probe is gone with all its versions.
    assert not {"Versions", "DeleteMarkers"} & set(is_now["objects"])
    assert s3.gate.asked.count("s3:PutObject") == s3.gate.asked.count("s3:DeleteObjectVersion") == 1


def test_a_second_time_changes_nothing(s3: S3, project: Path) -> None:
    made(s3)
    before, config = settings_of(s3), (project / ".dvc" / "config").read_bytes()
    s3.gate.asked.clear()
    for again in (made(s3), list(init())):  # with the address, and with the one that DVC has
        assert {finding.state for finding in again} == {"was"}
    assert {call for call in s3.gate.asked if ":Put" in call or ":Create" in call} == {"s3:PutObject"}
    assert settings_of(s3) == before
    assert (project / ".dvc" / "config").read_bytes() == config


def test_what_is_stricter_stays_and_what_others_set_stays(s3: S3) -> None:
    s3.client.create_bucket(Bucket="films")
    kms = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "arn:aws:kms:us-east-1:123456789012:key/ours"}
    s3.client.put_bucket_encryption(
        Bucket="films",
        ServerSideEncryptionConfiguration={"Rules": [{"ApplyServerSideEncryptionByDefault": kms}]},
    )
    theirs = [
        {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 30}},
        {
            "ID": "old",
            "Status": "Disabled",
            "Filter": {"Prefix": ""},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 9},
        },
    ]
    s3.client.put_bucket_lifecycle_configuration(Bucket="films", LifecycleConfiguration={"Rules": theirs})
    result = {finding.text.split(":")[0]: finding for finding in made(s3)}
    assert result["encryption by default"] == Finding("was", "encryption by default: aws:kms")
    assert result["leftovers of interrupted uploads"].state == "made"
    is_now = settings_of(s3)
    (rule,) = is_now["encryption"]["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"] == kms
    rules = {rule["ID"]: rule for rule in is_now["lifecycle"]["Rules"]}
    assert set(rules) == {"logs", "old", "osteon-incomplete-uploads"}
    for rule in theirs:
        assert {key: rules[rule["ID"]][key] for key in rule} == rule


ABORT = {"Status": "Enabled", "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 3}}


@pytest.mark.parametrize(
    ("rule", "enough"),
    [
        ({**ABORT, "Filter": {"Prefix": ""}}, True),
        ({**ABORT, "Filter": {"Prefix": "ost"}}, True),
        ({**ABORT, "Filter": {"Prefix": "osteon/"}}, True),
        ({**ABORT, "Prefix": ""}, True),
        ({**ABORT, "Filter": {"Prefix": "logs/"}}, False),
        ({**ABORT, "Prefix": "osteon/more/"}, False),
        ({**ABORT, "Filter": {"Prefix": ""}, "Status": "Disabled"}, False),
        ({**ABORT, "Filter": {"Tag": {"Key": "a", "Value": "b"}}}, False),
        ({"Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 3}}, False),
    ],
)
def test_a_rule_counts_only_where_it_covers_every_upload_of_the_remote(s3: S3, rule: Any, enough: bool) -> None:
    s3.client.create_bucket(Bucket="films")
    s3.client.put_bucket_lifecycle_configuration(
        Bucket="films", LifecycleConfiguration={"Rules": [{"ID": "theirs", **rule}]}
    )
    uploads, place = SETTING["leftovers of interrupted uploads"], parse_place(URL)
    assert (uploads.look(s3.client, place) == "deleted after 3 days") == enough
    if not enough:
        uploads.make(s3.client, place)
    rules = settings_of(s3)["lifecycle"]["Rules"]
    assert [item["ID"] for item in rules] == ["theirs"] if enough else ["theirs", "osteon-incomplete-uploads"]
    # S3 takes no lifecycle with rules of both forms.
    assert len({"Filter" in item for item in rules}) == 1
    assert uploads.look(s3.client, place) == f"deleted after {3 if enough else 7} days"


def test_access_that_is_half_blocked_is_blocked(s3: S3) -> None:
    s3.client.create_bucket(Bucket="films")
    s3.client.put_public_access_block(Bucket="films", PublicAccessBlockConfiguration={"BlockPublicAcls": True})
    assert states(made(s3))["access by the public"] == "made"
    assert set(settings_of(s3)["public"]["PublicAccessBlockConfiguration"].values()) == {True}


def test_versioning_that_was_suspended_is_turned_on(s3: S3) -> None:
    s3.client.create_bucket(Bucket="films")
    s3.client.put_bucket_versioning(Bucket="films", VersioningConfiguration={"Status": "Suspended"})
    assert states(made(s3))["versioning"] == "made"
    assert settings_of(s3)["versioning"]["Status"] == "Enabled"


def test_a_bucket_is_made_in_the_users_region(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    assert made(s3)[0].text == "bucket films: made in eu-central-1"
    assert s3.client.get_bucket_location(Bucket="films")["LocationConstraint"] == "eu-central-1"


def test_a_whole_bucket_can_be_the_remote(s3: S3, project: Path) -> None:
    made(s3, "s3://films/")
    assert settings_of(s3)["lifecycle"]["Rules"][0]["Filter"] == {"Prefix": ""}
    assert "url = s3://films\n" in (project / ".dvc" / "config").read_text()


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("which", [0, 1], ids=["reading", "writing"])
def test_a_setting_that_is_refused_names_the_permission_and_the_rest_is_done(
    s3: S3, project: Path, name: str, which: int
) -> None:
    permission = SETTINGS[name][which]
    s3.gate.answers[permission] = error(403, "AccessDenied")
    result = made(s3)
    expected = {"made", "was", "note"}
    assert {state for about, state in states(result).items() if about != name} <= expected
    (refused,) = (finding for finding in result if finding.state == "refused")
    assert refused.text == (
        f"{name}: refused (AccessDenied: so it is); the permission {permission} on arn:aws:s3:::films is missing"
    )
    assert "url = s3://films/osteon" in (project / ".dvc" / "config").read_text()
    # What may not be read is not overwritten on trust.
    assert which or SETTINGS[name][1] not in s3.gate.asked


@pytest.mark.parametrize(
    ("permission", "on"),
    [
        ("s3:ListBucket", "films"),
        ("s3:CreateBucket", "films"),
        ("s3:PutObject", "films/osteon/*"),
        ("s3:GetObject", "films/osteon/*"),
        ("s3:DeleteObjectVersion", "films/osteon/*"),
    ],
)
def test_without_these_permissions_the_remote_cannot_be_used_and_is_not_written(
    s3: S3, project: Path, permission: str, on: str
) -> None:
    before = (project / ".dvc" / "config").read_bytes()
    s3.gate.answers[permission] = error(403, "AccessDenied")
    with pytest.raises(OsteonError, match=rf"the permission {permission} on arn:aws:s3:::{re.escape(on)} is missing$"):
        made(s3)
    assert (project / ".dvc" / "config").read_bytes() == before


def test_without_versions_the_permission_to_delete_is_another(s3: S3) -> None:
    s3.gate.answers["s3:GetBucketVersioning"] = error(501, "NotImplemented")
    s3.gate.answers["s3:DeleteObject"] = error(403, "AccessDenied")
    with pytest.raises(OsteonError, match="the permission s3:DeleteObject on"):
        made(s3)


@pytest.mark.parametrize(
    ("status", "code"), [(501, "NotImplemented"), (405, "MethodNotAllowed"), (400, "MalformedXML"), (501, "Whatever")]
)
def test_what_a_server_does_not_know_is_no_fault(s3: S3, status: int, code: str) -> None:
    """MinIO has no public access block."""
    s3.gate.answers["s3:GetBucketPublicAccessBlock"] = error(status, code)
    s3.gate.answers["s3:PutEncryptionConfiguration"] = error(status, code)
    result = made(s3)
    assert Finding("unsupported", f"access by the public: not supported by this server ({code})") in result
    assert states(result)["encryption by default"] == "unsupported"
    assert states(result)["versioning"] == "made"
    assert {finding.state for finding in check()} <= {"was", "unsupported", "missing", "note"}


@pytest.mark.parametrize(
    ("permission", "answer", "said"),
    [
        ("s3:ListBucket", (403, "InvalidAccessKeyId"), "the server does not take these keys"),
        ("s3:ListBucket", (403, "SignatureDoesNotMatch"), "does not take these keys .* check them, and the clock"),
        ("s3:ListBucket", (403, "RequestTimeTooSkewed"), "check them, and the clock"),
        ("s3:ListBucket", (403, "AccessDenied"), r"either the bucket is somebody else's \(choose another name\), or"),
        ("s3:ListBucket", (400, "AuthorizationHeaderMalformed"), "in another region .* set AWS_DEFAULT_REGION"),
        ("s3:ListBucket", (409, "Strange"), "^s3://films/osteon: Strange: so it is$"),
        ("s3:CreateBucket", (409, "BucketAlreadyExists"), "the bucket belongs to somebody else; choose another name"),
        ("s3:CreateBucket", (400, "IllegalLocationConstraintException"), "set AWS_DEFAULT_REGION"),
        ("s3:CreateBucket", (400, "TooManyBuckets"), "bucket films: TooManyBuckets: so it is"),
    ],
)
def test_a_bucket_that_cannot_be_had(s3: S3, permission: str, answer: tuple[int, str], said: str) -> None:
    s3.gate.answers[permission] = error(*answer)
    with pytest.raises(OsteonError, match=said) as caught:
        made(s3)
    assert len(str(caught.value).splitlines()) == 1


def test_an_object_that_comes_back_changed(s3: S3, project: Path) -> None:
    s3.gate.answers["s3:GetObject"] = (200, b"something else")
    with pytest.raises(OsteonError, match="an object was read back with other content than was written"):
        made(s3)
    assert "storage" not in (project / ".dvc" / "config").read_text()


# ---------------------------------------------------------------- nobody there, no keys, no address


def test_without_keys(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(name)
    with pytest.raises(OsteonError, match="no keys for S3 were found; set AWS_ACCESS_KEY_ID"):
        made(s3)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "half")
    with pytest.raises(OsteonError, match="of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY one is missing; set both"):
        made(s3)
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(OsteonError, match=r"The config profile \(nobody\) could not be found"):
        made(s3)
    assert s3.gate.asked == []


def test_a_server_that_is_not_there(s3: S3) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(
        OsteonError, match=rf"^{address} does not answer \(EndpointConnectionError\); check the address"
    ):
        list(init(URL, address))


def test_a_server_without_a_certificate(s3: S3) -> None:
    with pytest.raises(OsteonError, match=r"its certificate is not trusted .*AWS_CA_BUNDLE"):
        list(init(URL, s3.endpoint.replace("http:", "https:")))


@pytest.mark.parametrize(
    ("url", "endpoint", "said"),
    [
        ("films/osteon", None, "not an address of the form s3://BUCKET/PREFIX"),
        ("https://films", None, "not an address of the form"),
        ("s3:///osteon", None, "not an address of the form"),
        ("s3://films?x=1", None, "not an address of the form"),
        ("s3://me:sesame@films/x", None, "keys do not belong into the address"),
        ("s3://Films", None, "'Films' is no name for a bucket"),
        ("s3://fi", None, "is no name for a bucket"),
        ("s3://a..b", None, "is no name for a bucket"),
        ("s3://192.168.0.1/x", None, "is no name for a bucket"),
        ("s3://films/röntgen", None, "s3://films/röntgen: DVC cannot write an address with letters beyond ASCII"),
        ("s3://films/x", "localhost:9000", "--endpoint-url localhost:9000: not an address of the form"),
        ("s3://films/x", "http://me:sesame@localhost", "keys do not belong into --endpoint-url"),
    ],
)
def test_an_address_that_is_none(url: str, endpoint: str | None, said: str) -> None:
    with pytest.raises(OsteonError, match=said) as caught:
        parse_place(url, endpoint)
    assert "sesame" not in str(caught.value)


@given(bucket=st.from_regex(r"\A[a-z0-9][a-z0-9-]{1,61}[a-z0-9]\Z"), prefix=st.text("abc/ .-", max_size=9))
def test_an_address_comes_back_as_it_was(bucket: str, prefix: str) -> None:
    place = parse_place(f"s3://{bucket}/{prefix}")
    assert (place.bucket, place.prefix) == (bucket, prefix.strip("/"))
    assert parse_place(place.url) == place


def test_an_address_that_is_not_encrypted_is_warned_of(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not [finding for finding in made(s3) if finding.state == "warning"]  # this machine's own
    findings = init(URL, "http://minio.hospital.example")
    assert next(findings) == Finding(
        "warning", "http://minio.hospital.example is not encrypted: everybody on the network path can read the films"
    )


# ---------------------------------------------------------------- DVC's configuration


def dvc_remote(name: str) -> str:
    done = subprocess.run(["dvc", "config", f"remote.storage.{name}"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def test_dvc_reads_what_was_written_and_no_key_is_in_it(s3: S3, project: Path) -> None:
    made(s3)
    assert dvc_remote("url") == URL
    assert dvc_remote("endpointurl") == s3.endpoint
    config = (project / ".dvc" / "config").read_text()
    assert "remote = storage" in config
    assert "analytics = false" in config
    assert "sesame" not in config
    assert sorted(path.name for path in (project / ".dvc").iterdir() if path.name.startswith("config")) == ["config"]


def test_what_else_the_configuration_says_stays(s3: S3, project: Path) -> None:
    (project / ".dvc" / "config").write_text(
        "[core]\n    remote = disk\n['remote \"disk\"']\n    url = /mnt/films\n"
        "['remote \"storage\"']\n    url = s3://before\n    region = us-east-1\n"
    )
    result = made(s3)
    assert result[-2].text.endswith("written into .dvc/config; it was s3://before; the default was 'disk'")
    assert dvc_remote("region") == "us-east-1"
    assert dvc_remote("url") == URL
    assert "url = /mnt/films" in (project / ".dvc" / "config").read_text()


def test_the_keys_that_dvc_has_are_the_keys_that_are_tried(
    s3: S3, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(s3)
    for name in KEYS:
        monkeypatch.delenv(name)
    (project / ".dvc" / "config.local").write_text(
        "['remote \"storage\"']\n    access_key_id = a\n    secret_access_key = b\n"
    )
    assert {finding.state for finding in init()} == {"was"}


def test_the_address_of_the_environment_is_asked_and_not_written(
    s3: S3, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    list(init(URL))
    assert dvc_remote("endpointurl") == ""
    assert settings_of(s3)["versioning"]["Status"] == "Enabled"


def test_without_a_project_or_a_remote(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for ask in (check, init):
        with pytest.raises(
            OsteonError, match="DVC has no remote yet; make one: osteon storage init s3://BUCKET/PREFIX"
        ):
            list(ask())
    (project / ".dvc" / "config").write_text("[core]\n    remote = disk\n['remote \"disk\"']\n    url = /mnt/films\n")
    with pytest.raises(OsteonError, match="DVC's remote is /mnt/films, not on S3"):
        list(check())
    with pytest.raises(OsteonError, match="--endpoint-url needs an address too"):
        list(init(None, "http://localhost:1"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OsteonError, match="no DVC project here"):
        list(check())


# ---------------------------------------------------------------- check


def configured(project: Path, s3: S3) -> None:
    (project / ".dvc" / "config").write_text(
        f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = {URL}\n    endpointurl = {s3.endpoint}\n"
    )


def test_check_tells_what_is_missing_and_changes_nothing(s3: S3, project: Path) -> None:
    configured(project, s3)
    s3.client.create_bucket(Bucket="films")
    before, config = settings_of(s3), (project / ".dvc" / "config").read_bytes()
    s3.gate.asked.clear()
    result = list(check())
    assert {name: state for name, state in states(result).items() if name in SETTINGS} == dict.fromkeys(
        SETTINGS, "missing"
    )
    assert set(s3.gate.asked) == {"s3:ListBucket", *(reading for reading, _ in SETTINGS.values())}
    assert settings_of(s3) == before
    assert (project / ".dvc" / "config").read_bytes() == config


def test_check_finds_nothing_wrong_after_init_and_reads_what_was_pushed(s3: S3, project: Path) -> None:
    made(s3)
    assert {finding.state for finding in check()} == {"was", "note"}
    s3.client.put_object(Bucket="films", Key="osteon/files/md5/ab/cd", Body=b"film")
    before = settings_of(s3)
    s3.gate.asked.clear()
    assert {finding.state for finding in check()} == {"was"}
    assert not [requested for requested in s3.gate.asked if not requested.startswith(("s3:Get", "s3:List"))]
    assert settings_of(s3) == before
    s3.gate.answers["s3:GetObject"] = error(403, "AccessDenied")
    (refused,) = (finding for finding in check() if finding.state == "refused")
    assert "s3:GetObject on arn:aws:s3:::films/osteon/*" in refused.text


def test_check_does_not_make_the_bucket(s3: S3, project: Path) -> None:
    configured(project, s3)
    with pytest.raises(OsteonError, match="there is no bucket films; `osteon storage init` makes it"):
        list(check())
    assert s3.client.list_buckets()["Buckets"] == []


# ---------------------------------------------------------------- the command


def test_the_command_and_its_exit_codes(s3: S3, project: Path) -> None:
    done = osteon(project, "storage", "init", URL, "--endpoint-url", s3.endpoint)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "✓ bucket films: made"
    assert lines[-1] == "  now: git add .dvc/config && git commit -m 'DVC remote' && dvc push"
    assert osteon(project, "storage", "check").returncode == 0
    s3.client.put_bucket_versioning(Bucket="films", VersioningConfiguration={"Status": "Suspended"})
    done = osteon(project, "storage", "check")
    assert done.returncode == 2
    assert "✗ versioning: missing; `osteon storage init` sets it" in done.stdout.splitlines()
    assert done.stderr == "error: 1 thing is not as it should be, marked ✗ above\n"
    s3.gate.answers["s3:PutBucketVersioning"] = error(403, "AccessDenied")
    s3.gate.answers["s3:GetLifecycleConfiguration"] = error(403, "AccessDenied")
    done = osteon(project, "storage", "init")
    assert done.returncode == 2
    assert done.stderr == "error: 2 things are not as they should be, marked ✗ above\n"
    assert "sesame" not in done.stdout + done.stderr


def test_the_policy_in_the_documentation_allows_what_is_asked_and_no_more(s3: S3) -> None:
    """Its two parts: for who makes the bucket, and for who trains."""
    made(s3)
    page = (Path(__file__).parents[2] / "docs" / "storage.md").read_text(encoding="utf-8")
    (policy,) = (json.loads(text) for text in re.findall(r"```json\n(.*?)```", page, re.DOTALL))
    allowed = {action for statement in policy["Statement"] for action in statement["Action"]}
    assert set(s3.gate.asked) <= allowed
    # What only DVC asks: deleting by dvc gc, and uploading in parts.
    assert allowed - set(s3.gate.asked) == {"s3:DeleteObject", "s3:AbortMultipartUpload"}


def test_nothing_of_the_users_own_is_asked(s3: S3) -> None:
    assert not set(UNSET) & set(os.environ)
