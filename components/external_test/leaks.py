"""Which of the films a model has seen: the same bytes or pixels, near copies, and films of the same groups."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.external_test.films import OtherFilms
from components.preparation.squares import COMPARED, standardise_films
from osteon.files import atomic_dir, read_file
from osteon.films.copies.alignment import FilmStack
from osteon.films.copies.keypoints import SIDE
from osteon.films.copies.pairs import find_pairs, joined_rows, write_pairs
from osteon.films.groups import connected_components, group_films
from osteon.films.manifest import read_manifest
from osteon.films.prepared.array import open_pixels, write_pixels
from osteon.films.prepared.row_file import RowFile
from osteon.models.package.package import FILMS
from osteon.threads import over_cores

SMALLEST = 32  # side of the squares that nobody looks at

# Why a film is taken out, in the order in which a film is judged.
SAME_BYTES = "same bytes as a training film"
OWN_TEST = "of the model's own test films"
COPY = "copy of a training film"
SAME_PATIENT = "patient of a training film"
SAME_GROUP = "of one patient, study or film with such a film"


@dataclass(frozen=True)
class TrainingFilms:
    """The films that a model was trained, set or measured on.

    trained, tested: SHA-256 of them. here: manifest rows of those whose files are here, unchanged, below `root`.
    """

    trained: frozenset[str]
    tested: frozenset[str]
    here: pd.DataFrame
    root: Path


@dataclass(frozen=True)
class Leaks:
    """What is left of the films. why: why a film is taken out, null where it is not. groups: of each film.

    patients: of how many films the patient's id is that of a training film.
    """

    why: "pd.Series[str]"
    groups: "pd.Series[str]"
    patients: int

    @property
    def counts(self) -> dict[str, int]:
        """Reason → films."""
        return {str(reason): int(count) for reason, count in self.why.value_counts().items()}


def read_training_films(package: Path, tested: frozenset[str], trusted: Path, root: Path, cores: int) -> TrainingFilms:
    """What is known of the films that a model has seen.

    Args:
        package: of the model; its films.csv names them by their SHA-256.
        tested: SHA-256 of its own test films.
        trusted: manifest of the films it was trained on; it need not exist.
        root: folder with their files.
        cores: threads; 0 is one a core.

    """
    listed = pd.read_csv(package / FILMS, dtype=str) if (package / FILMS).is_file() else None
    trained = frozenset(listed["sha256"]) if listed is not None else frozenset()
    films = read_manifest(trusted) if trusted.is_file() else pd.DataFrame()
    if len(films):
        films = films[films["sha256"].isin(trained)]
        films = films[_unchanged(films, root, cores)]
    return TrainingFilms(trained, tested, films.reset_index(drop=True), root)


def _unchanged(films: pd.DataFrame, root: Path, cores: int) -> list[bool]:
    """Of each film, whether its file is there with the bytes that the manifest names."""

    def look(rows: Sequence[int]) -> list[bool]:
        return [_has_hash(root / films["path"].iloc[row], films["sha256"].iloc[row]) for row in rows]

    return list(over_cores(look, range(len(films)), cores))


def _has_hash(path: Path, sha256: str) -> bool:
    try:
        return hashlib.sha256(read_file(path)).hexdigest() == sha256
    except OSError:
        return False


def find_leaks(
    others: OtherFilms, training: TrainingFilms, work: Path, report: Path, *, same_patients: bool, cores: int
) -> Leaks:
    """Compare the films with one another and with those that the model has seen.

    A group with such a film is taken out whole, for its other films are of the same patient, study or film.

    Args:
        others: the films.
        training: those that the model has seen; near copies are looked for among those that are here.
        work: a folder to make, for squares.
        report: gets the pairs of copies as prepare writes them, of these films with training films only.
        same_patients: an id of a patient means the same person in both sets.
        cores: threads; 0 is one a core.

    """
    here, films = training.here, others.films
    if len(here):
        work.mkdir()
        here = here.join(standardise_films(here, training.root, work, SMALLEST, cores))
        compared = _one_after_the_other(work / "both.npy", [open_pixels(work / COMPARED), others.compared])
        both = pd.concat([here, films], ignore_index=True)
    else:
        compared, both = others.compared, films
    first = len(here)
    stack = FilmStack(compared, list(zip(both["shown_width"], both["shown_height"], strict=True)))
    pairs = find_pairs(both, stack, cores)
    joined = joined_rows(pairs)
    among_films = joined[(joined >= first).all(axis=1)] - first
    across = pairs[(pairs["first"] < first) & (pairs["second"] >= first)]
    with atomic_dir(report) as folder:
        write_pairs(folder, across, both, stack)
    groups = group_films(films, among_films)
    seen = connected_components(len(both), joined)
    signs = {
        SAME_BYTES: films["sha256"].isin(training.trained),
        OWN_TEST: films["sha256"].isin(training.tested),
        COPY: pd.Series(np.isin(seen[first:], seen[:first]), films.index),
    }
    of_patients = films["patient_id"].isin(set(here["patient_id"].dropna()) if len(here) else ())
    if same_patients:
        signs[SAME_PATIENT] = of_patients
    why = pd.Series(pd.NA, index=films.index, dtype="string")
    for reason, true in signs.items():
        why = why.mask(why.isna() & true, reason)
    why = why.mask(why.isna() & groups.isin(set(groups[why.notna()])), SAME_GROUP)
    return Leaks(why, groups, int(of_patients.sum()))


def _one_after_the_other(path: Path, parts: list[RowFile[np.uint8]]) -> RowFile[np.uint8]:
    """The squares of several files in one."""

    def squares() -> Iterator[NDArray[np.uint8]]:
        for part in parts:
            for row in range(len(part)):
                yield part[row]

    write_pixels(path, squares(), sum(len(part) for part in parts), SIDE)
    return open_pixels(path)


def say_leaks(leaks: Leaks, training: TrainingFilms) -> str:
    """What was taken out, and how well it was looked for."""
    counts = ", ".join(f"{count:,} {reason}" for reason, count in leaks.counts.items())
    out = f"taken out: {counts}" if counts else "no film of these is one that it has seen"
    if not training.trained:
        return f"{out}; which films it was trained on is not known, so no copy of one could be looked for"
    all_films = f"{len(training.trained):,} training films"
    if not len(training.here):
        return (
            f"{out}; of its {all_films} only the hashes are here: near copies could not be looked for "
            "(--trusted and --films name manifest and folder)"
        )
    some = f"{len(training.here):,} of its {all_films}" if len(training.here) < len(training.trained) else all_films
    return f"{out}; bytes compared with {all_films}, pixels and likeness with {some}"


def say_patients(films: pd.DataFrame, leaks: Leaks, training: TrainingFilms) -> str:
    """What is known of patients in both sets; empty where it was acted upon."""
    if SAME_PATIENT in leaks.counts:
        return ""
    known = int(films["patient_id"].notna().sum())
    if not known or not len(training.here) or training.here["patient_id"].isna().all():
        return "patients are not known in both sets: whether one is in both, nobody knows"
    if not leaks.patients:
        return "no id of a patient is in both sets; that says something only if the ids were hashed with one key"
    return (
        f"{leaks.patients:,} films have an id of a patient that training films have too. If both sets are of one "
        "hospital these are the same people: run it again with --same-patients, which takes them out"
    )
