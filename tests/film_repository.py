"""A git repository whose DVC tracks a folder of films, for the tests."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from osteon.files import dvc_hash


@dataclass(frozen=True)
class FilmRepository:
    """The repository, DVC's hash of its films, and where its remote keeps them."""

    folder: Path
    data: str
    remote: str

    def do(self, *words: str, **variables: str) -> str:
        done = subprocess.run(
            words,
            cwd=self.folder,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def commit(self) -> str:
        self.do("git", "add", "-A")
        who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        self.do("git", *who, "commit", "-q", "--no-verify", "-m", "films")
        return self.do("git", "rev-parse", "HEAD")

    def change(self, films: dict[str, bytes], **variables: str) -> str:
        """Other films, pushed and committed; DVC's hash of them."""
        dvc = (sys.executable, "-m", "dvc")
        for name, content in films.items():
            (self.folder / "data" / "films" / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / "data" / "films" / name).write_bytes(content)
        self.do(*dvc, "add", "-q", "data/films")
        self.do(*dvc, "push", "-q", **variables)
        self.commit()
        return dvc_hash(self.folder / "data" / "films")


def film_repository(
    folder: Path, films: dict[str, bytes], remote: str | None = None, endpoint: str = "", **variables: str
) -> FilmRepository:
    """A repository with films in data/films, at the branch main.

    Args:
        folder: gets the repository and, unless another is given, its DVC remote.
        films: name → content.
        remote: address of the DVC remote.
        endpoint: of an S3 server.
        variables: of the environment, for whoever pushes.

    """
    made = FilmRepository(folder / "repository", "", remote or str(folder / "remote"))
    made.folder.mkdir(parents=True)
    dvc = (sys.executable, "-m", "dvc")
    made.do("git", "init", "-q", "-b", "main")
    made.do(*dvc, "init", "-q")
    made.do(*dvc, "remote", "add", "-q", "--default", "there", made.remote)
    if endpoint:
        made.do(*dvc, "remote", "modify", "-q", "there", "endpointurl", endpoint)
    return FilmRepository(made.folder, made.change(films, **variables), made.remote)
