"""The audit of one folder of films."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from osteon.audit.copies import contradictions, signs, source_films, split_leaks, split_sizes
from osteon.audit.findings import Audit
from osteon.audit.folder import read_folder
from osteon.audit.gap import find_gap
from osteon.audit.squares import ReadableSquares, write_squares
from osteon.errors import OsteonError
from osteon.files import atomic_dir
from osteon.films.copies.alignment import FilmStack
from osteon.films.copies.leaks import TABLE
from osteon.films.copies.pairs import PICTURE, find_pairs, joined_rows, write_pairs
from osteon.films.groups import group_films
from osteon.films.known_patients import count_patients
from osteon.films.left_out import LeftOut, count_kinds
from osteon.films.prepared.array import PIXELS, open_pixels
from osteon.params import DataParams

CONFIDENCE = 0.95
RESULT = "audit.json"


def audit_folder(root: Path, layout: str | None, params: DataParams, out: Path | None) -> Audit:
    """Search a folder for copies, and measure what they do to its splits, its labels and a model's figures.

    Args:
        root: folder of films, read only.
        layout: how it is laid out; None finds out.
        params: classes, columns, label_file and cores; its root and layout are not used.
        out: gets RESULT, the table of pairs and the picture of those hardest to judge; None writes nothing.

    Raises:
        OsteonError: no film that can be read, or `out` is no place to write to.

    """
    if out is not None:
        _check_place(out, root)
    name, films, left_out = read_folder(root, layout, params)
    with TemporaryDirectory() as scratch:
        squares = Path(scratch) / PIXELS
        facts = write_squares(films, root, squares, params.cores)
        films = films.assign(**{str(column): facts[column] for column in facts})
        fine = films["fault"].isna().to_numpy(bool)
        readable = films[fine].reset_index(drop=True)
        if readable.empty:
            reason = next(iter(_counted(films["fault"])))
            raise OsteonError(f"{root}: none of {len(films):,} files is a film that can be read ({reason})")
        stack = FilmStack(
            ReadableSquares(open_pixels(squares), np.flatnonzero(fine)),
            list(zip(readable["shown_width"], readable["shown_height"], strict=True)),
        )
        pairs = find_pairs(readable, stack, params.cores)
        audit = _judge(root.resolve().name, name, films, readable, pairs, stack, params.cores)
        audit = audit.model_copy(update=_kinds(left_out))
        if out is not None:
            with atomic_dir(out) as folder:
                write_pairs(folder, pairs, readable, stack)
                (folder / RESULT).write_text(audit.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return audit


def _judge(
    folder: str,
    layout: str | None,
    films: pd.DataFrame,
    readable: pd.DataFrame,
    pairs: pd.DataFrame,
    stack: FilmStack,
    cores: int,
) -> Audit:
    """What the pairs mean.

    Args:
        folder: its name.
        layout: by which it was read.
        films: all of them; column fault.
        readable: those without a fault, in the stack's order.
        pairs: of find_pairs.
        stack: their pixels.
        cores: threads.

    """
    copies = pairs[pairs["joined"]]
    source = source_films(len(readable), copies)
    groups = pd.factorize(group_films(readable, joined_rows(pairs)))[0].astype(np.int64)
    sure = readable["label"].notna() & readable["doubt"].isna()
    labelled = np.flatnonzero(sure)
    labels = readable["label"].iloc[labelled].to_numpy(np.int64)
    sizes = split_sizes(readable)
    known = count_patients(readable)
    return Audit(
        folder=folder,
        layout=layout,
        finding=next(iter(readable.loc[sure, "finding"].dropna().unique()), "fractured"),
        confidence=CONFIDENCE,
        films=len(films),
        readable=len(readable),
        unreadable=_counted(films["fault"]),
        positive=int((labels == 1).sum()),
        negative=int((labels == 0).sum()),
        doubts=_counted(readable["doubt"]),
        sources=len(np.unique(source)),
        most_copies=int(np.bincount(source).max()),
        groups=len(np.unique(groups)),
        patients=known.patients or None,
        patients_known=known.known,
        known=known.count,
        signs=signs(copies),
        splits=sizes,
        without_split=int(readable["given_split"].isna().sum()),
        leaks=split_leaks(readable, source),
        contradictions=contradictions(readable, source, copies),
        gap=find_gap(stack.squares, labelled, labels, groups[labelled], CONFIDENCE, cores),
    )


def _kinds(left_out: list[LeftOut]) -> dict[str, dict[str, int]]:
    """not_read and skipped of an Audit."""
    counts = count_kinds(left_out)
    return {
        "not_read": {f"{count.kind} ({count.advice})": count.files for count in counts if count.advice},
        "skipped": {count.kind: count.files for count in counts if not count.advice},
    }


def _counted(reasons: "pd.Series[str]") -> dict[str, int]:
    """Films for each reason, the commonest first; numbers do not tell reasons apart."""
    alike = reasons.dropna().map(lambda reason: re.sub(r"\d+(\.\d+)?", "…", reason))
    return {str(reason): int(count) for reason, count in alike.value_counts().items()}


def _check_place(out: Path, root: Path) -> None:
    """Stop before the work where what is found could not, or should not, be written."""
    if out.resolve().is_relative_to(root.resolve()):
        raise OsteonError(
            f"--out {out}: is inside the audited folder, and its picture would be a film of the next audit"
        )
    if out.exists() and not out.is_dir():
        raise OsteonError(f"--out {out}: a file, not a folder")
    others = sorted({path.name for path in out.iterdir()} - {RESULT, TABLE, PICTURE}) if out.exists() else []
    if others:
        raise OsteonError(f"--out {out}: has other content ({others[0]}); name a new folder")
