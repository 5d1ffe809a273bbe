"""A finished project through a bucket and out of it again, as a colleague gets it: against a server that speaks S3."""

import shutil
from pathlib import Path

import pytest

from osteon.files import dvc_hash
from tests.e2e.conftest import Project
from tests.e2e.test_repro import lock_of
from tests.s3 import PARTS, s3_server

# One worker runs all tests that need the finished project, so that it is made once.
pytestmark = pytest.mark.xdist_group("finished")


def commit(project: Project, message: str) -> None:
    project.done("git", "add", "-A")
    project.done(
        "git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "--no-verify", "-m", message
    )


def test_what_one_pushes_another_pulls_and_has_nothing_to_do(finished: Project, tmp_path: Path) -> None:
    # A clone with the finished project's lock and cache: that project itself is others' too.
    ours = Project(tmp_path / "ours")
    finished.done("git", "clone", "-q", str(finished.folder), str(ours.folder))
    shutil.copy(finished.folder / "dvc.lock", ours.folder / "dvc.lock")
    (ours.folder / ".dvc" / "cache").symlink_to(finished.folder / ".dvc" / "cache")
    commit(ours, "what came out")
    with s3_server() as s3:
        output = ours.done("osteon", "storage", "init", "s3://hospital-films/osteon", "--endpoint-url", s3.endpoint)
        assert "now: git add .dvc/config" in output
        assert ours.done("git", "diff", "--name-only").split() == [".dvc/config"]
        commit(ours, "DVC remote")
        s3.gate.asked.clear()
        assert "files pushed" in ours.done("dvc", "push")
        assert "an object can be read" in ours.done("osteon", "storage", "check")

        theirs = Project(tmp_path / "theirs")
        ours.done("git", "clone", "-q", str(ours.folder), str(theirs.folder))
        assert not (theirs.folder / "data" / "phantoms").exists()
        theirs.done("dvc", "pull")
        before = (theirs.folder / "dvc.lock").read_bytes()
        assert "Data and pipelines are up to date" in theirs.done("dvc", "repro")
        assert (theirs.folder / "dvc.lock").read_bytes() == before
        for stage in lock_of(finished).values():
            for out in stage["outs"]:
                assert dvc_hash(theirs.folder / out["path"]) == out["md5"], out["path"]
        # Who trains needs no more than docs/storage.md gives them.
        assert set(s3.gate.asked) <= {
            "s3:ListBucket",
            "s3:GetObject",
            "s3:PutObject",
            *(reading for reading, _ in PARTS.values()),  # `osteon storage check`
        }
        # What lies in the bucket is what DVC knows, and nothing of git's or MLflow's.
        keys = [item["Key"] for item in s3.client.list_objects_v2(Bucket="hospital-films")["Contents"]]
        assert all(key.startswith("osteon/files/md5/") for key in keys)
        assert "Everything is up to date" in ours.done("dvc", "push")
