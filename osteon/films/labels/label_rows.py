"""Rows of label tables → labels of films, with a doubt wherever it is not certain which film or which label is meant.

A row finds its film by the first of these that fits any:

1. the path below the folder, or below the table's folder;
2. the end of the path, in whole components: 'IM1.png' fits 'a/IM1.png', '2024/IM1.png' never '2023/IM1.png';
3. the folder's name and the path, where the row has a path of another place: 'D:/set/a.png' fits 'a.png' of 'set';
4. SOPInstanceUID;
5. with data.label_unit = study: StudyInstanceUID, or a folder.

Paths are compared exactly (in Unicode's form NFC), then without case, then without the extension of a picture, then
without both. A row that fits several films is a doubt about all of them, as are rows of one film that differ.
"""

import logging
import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from unicodedata import normalize

import pandas as pd

from osteon.errors import OsteonError
from osteon.films.id_columns import agreed_ids, id_columns
from osteon.films.labels.class_labels import label_of, no_class
from osteon.films.labels.label_table import LabelTable, read_table
from osteon.films.reading.dicom_ids import OBJECT, PATIENT, STUDY, TAGS
from osteon.folding import folded
from osteon.params import DataParams

log = logging.getLogger(__name__)

# Extensions that a table may have where the file has another, or none. Not any: 'a.left' and 'a.right' are two films.
_PICTURE = re.compile(
    r"\.(jpe?g|jpe|jfif|png|tiff?|gif|bmp|webp|jp2|j2k|hei[cf]|dcm|dicom|ima|nii|nii\.gz|mha|raw)$", re.IGNORECASE
)
_UID = re.compile(r"[0-9]+(\.[0-9]+){2,}")


def _nfc(path: str) -> str:
    return normalize("NFC", path)


def _without_extension(path: str) -> str:
    return _PICTURE.sub("", _nfc(path))


# How two paths may look the same, the strictest first.
_LOOKS: tuple[Callable[[str], str], ...] = (
    _nfc,
    folded,
    _without_extension,
    lambda path: folded(_without_extension(path)),
)


class _Entry(NamedTuple):
    """The rows of one table that name a film by one text, and the films that they fit."""

    table: PurePosixPath  # below the folder of all films
    name: str  # empty where the cell is
    lines: list[int]
    texts: dict[str, frozenset[str]]  # the different texts of its rows by what they are about; no label is ''
    films: list[int]
    doubt: str | None  # about all its films
    ids: dict[str, str | None]  # of patient and study, as osteon.films.id_columns names them

    @property
    def place(self) -> str:
        return f"{self.table}, line {self.lines[0]}"


def read_label_table(path: Path, films: pd.DataFrame, params: DataParams) -> LabelTable:
    """Read a table of labels with the columns that data.columns names.

    Args:
        path: the file.
        films: with their paths, whose names help to find the encoding.
        params: columns and words of the classes.

    Raises:
        OsteonError: it cannot be read, or lacks the column of films or labels.

    """
    columns = params.columns
    words = {*params.classes.fractured, *params.classes.not_fractured}
    words |= {str(path).rpartition("/")[2] for path in films["path"]}
    words |= {_without_extension(word) for word in words}
    optional = (columns.fracture_type, columns.region, columns.view)
    return read_table(path, (columns.film, columns.label), optional, words)


def with_labels(films: pd.DataFrame, tables: Sequence[LabelTable], root: Path, params: DataParams) -> pd.DataFrame:
    """Films with what label tables say of them, and a row for each entry whose film is not there.

    Args:
        films: film_id, path and finding, and whatever else is known. DICOM's SOPInstanceUID, StudyInstanceUID and
            PatientID are used if they are there, and are not in the result.
        tables: with the columns data.columns.film and data.columns.label. A table below `root` names films of its own
            folder, or of the nearest one above that has any.
        root: the folder of all films.
        params: columns, words of the classes, and what a row names.

    Returns:
        the films in their order, with label, fracture_type, region, view, doubt and a table's ids; then the entries
        without a film.

    Raises:
        OsteonError: no row of any table fits a film.

    """
    names = _FilmNames(films, root)
    entries = [entry for table in tables for entry in _entries(table, names, root, params)]
    if len(films) and entries and not any(entry.films for entry in entries):
        raise OsteonError(_nothing_fits(entries, names))
    of_film: dict[int, list[_Entry]] = defaultdict(list)
    for entry in entries:
        for film in entry.films:
            of_film[film].append(entry)
    for copies in names.copies():  # those of an instance that no row names have the rows of the others
        theirs = [entry for film in copies for entry in of_film.get(film, ())]
        of_film |= {film: theirs for film in copies if film not in of_film and theirs}
    shown = ", ".join(dict.fromkeys(table.path.name for table in tables))
    facts = [_facts(of_film.get(film, []), shown, params) for film in range(len(films))]
    labelled = films.drop(columns=list(TAGS), errors="ignore").reset_index(drop=True)
    for column in dict.fromkeys(key for fact in facts for key in fact):
        labelled[column] = pd.Series([fact.get(column) for fact in facts], dtype="object")
    lost = [entry for entry in entries if not entry.films]
    log.info(
        "%s: %d of %d films have a row; %d rows name no film",
        *(shown, len(of_film), len(films), sum(len(entry.lines) for entry in lost)),
    )
    doubtful = [fact["doubt"] for fact in facts if fact["doubt"]]
    if doubtful:
        log.warning("%s: %d films have no certain label; the first: %s", shown, len(doubtful), doubtful[0])
    if params.label_unit == "study":
        _warn_of_positive_studies(entries, params)
    return pd.concat([labelled, pd.DataFrame([_lost(entry, names, params) for entry in lost])], ignore_index=True)


def _entries(table: LabelTable, names: "_FilmNames", root: Path, params: DataParams) -> Iterator[_Entry]:
    """The rows of a table by what they name, each with its films."""
    inside = table.path.is_relative_to(root)
    shown = PurePosixPath(table.path.relative_to(root) if inside else table.path.name)
    folder = names.folder_with_films(shown.parent)
    taken = id_columns(table.rows, shown.as_posix(), params.columns)
    abouts = {key: getattr(params.columns, key) for key in ("label", "fracture_type", "region", "view")}
    rows: dict[str, list[tuple[int, dict[str, object]]]] = defaultdict(list)
    columns = [str(column) for column in table.rows]
    for line, *cells in table.rows.itertuples(name=None):
        row = dict(zip(columns, cells, strict=True))
        name = row[params.columns.film]
        rows[name if isinstance(name, str) else f"\0{line}"].append((int(line), row))  # each empty cell for itself
    for name, numbered in rows.items():
        lines, cells = [line for line, _ in numbered], [row for _, row in numbered]
        texts = {key: _texts(row.get(column) for row in cells) for key, column in abouts.items()}
        if any(not isinstance(row[params.columns.label], str) for row in cells):
            texts["label"] |= {""}
        named = not name.startswith("\0")
        films, doubt = names.fitting(name, folder, shown.parent, params) if named else ([], None)
        doubt = f"{shown}, line {lines[0]}, {doubt}" if doubt else None
        ids = agreed_ids(cells, taken) if doubt is None else dict.fromkeys(taken)
        yield _Entry(shown, name if named else "", lines, texts, films, doubt, ids)


def _facts(entries: list[_Entry], tables: str, params: DataParams) -> dict[str, object]:
    """Label, fracture type, region, view and doubt of one film."""
    facts: dict[str, object] = dict.fromkeys(("label", "fracture_type", "region", "view", "doubt"))
    for key in {key: None for entry in entries for key in entry.ids}:
        facts[key] = _only(_texts(entry.ids.get(key) for entry in entries))
    if not entries:
        return facts | {"doubt": f"not in {tables}"}
    words = sorted(frozenset().union(*(entry.texts["label"] for entry in entries)))
    labels = {label_of(word, params.classes) for word in words}
    doubts = list(dict.fromkeys(entry.doubt for entry in entries if entry.doubt))
    if len(labels) > 1:
        doubts.append(f"{tables} gives it more than one label: {', '.join(word or 'none' for word in words)}")
    elif None in labels and words[0]:
        doubts.append(no_class(words[0], f"{tables}: {params.columns.label}"))
    elif None in labels:
        doubts.append(f"{entries[0].place}: {params.columns.label} is empty")
    if doubts:
        return facts | {"doubt": "; ".join(doubts)}
    facts["label"] = label = labels.pop()
    for key in ("fracture_type", "region", "view") if label else ("region", "view"):
        facts[key] = _only(frozenset().union(*(entry.texts[key] for entry in entries)))
    return facts


def _texts(values: Iterable[object]) -> frozenset[str]:
    return frozenset(text for text in values if isinstance(text, str))


def _only(texts: frozenset[str]) -> str | None:
    """What a film's rows say; None where they say nothing or not the same."""
    return next(iter(texts)) if len(texts) == 1 else None


def _lost(entry: _Entry, names: "_FilmNames", params: DataParams) -> dict[str, object]:
    """The row of an entry that fits no film. Its path never leaves the folder, and no id is taken for a path."""
    name = _cleaned(entry.name)
    if not entry.name or params.label_unit == "study" or names.is_an_id(name):
        name = f"line {entry.lines[0]} of {entry.table.name}"
    parts = [part for part in name.split("/") if part not in ("", "..") and not part.endswith(":")]
    path = entry.table.parent.joinpath(*parts).as_posix()
    doubt = f"{entry.place}: no film here is called so" if entry.name else f"{entry.place}: it names no film"
    return {"film_id": path, "path": path, "finding": "fractured"} | (
        _facts([entry], entry.table.name, params) | {"doubt": doubt}
    )


def _nothing_fits(entries: list[_Entry], names: "_FilmNames") -> str:
    entry = next((entry for entry in entries if entry.name), entries[0])
    called = "an id" if names.is_an_id(_cleaned(entry.name)) else f"'{entry.name}'"
    return (
        f"{entry.table}: none of its rows names a film of this folder; line {entry.lines[0]} names {called}, the first "
        f"film is {names.paths[0]!r}. Write paths below the folder, file names or SOPInstanceUIDs, or name the right "
        "column in data.columns.film; if rows name studies, set data.label_unit: study"
    )


def _warn_of_positive_studies(entries: list[_Entry], params: DataParams) -> None:
    positive = [
        len(entry.films)
        for entry in entries
        if len(entry.films) > 1 and {label_of(word, params.classes) for word in entry.texts["label"]} == {1}
    ]
    if positive:
        log.warning(
            "data.label_unit is study: the %d films of %d positive studies are all labelled positive, though not each "
            "of them need show the finding; docs/data.md, Labels by study, says what to do",
            *(sum(positive), len(positive)),
        )


def _cleaned(name: str) -> str:
    """A path with '/' and without './', '//' and 'a/..'."""
    return posixpath.normpath(name.strip().replace("\\", "/"))


class _FilmNames:
    """All that films can be named by."""

    def __init__(self, films: pd.DataFrame, root: Path) -> None:
        self.paths = [str(path) for path in films["path"]]
        self._above = root.absolute().parts[1:]
        self._sops = _numbers(films, OBJECT)
        self._studies = _numbers(films, STUDY)
        self._patients = _numbers(films, PATIENT)
        self._sop_of = {film: sop for sop, same in self._sops.items() for film in same}
        self._study_of = {film: study for study, same in self._studies.items() for film in same}
        self._folders: dict[PurePosixPath, list[int]] = defaultdict(list)
        for film, path in enumerate(self.paths):
            for folder in PurePosixPath(path).parents:
                self._folders[folder].append(film)
        self._by_path: dict[tuple[int, tuple[str, ...]], dict[str, list[int]]] = {}
        self._by_end: dict[tuple[int, int], dict[str, list[int]]] = {}
        self._by_folder: dict[tuple[int, int], dict[str, list[PurePosixPath]]] = {}

    def folder_with_films(self, folder: PurePosixPath) -> PurePosixPath:
        """The folder, or the nearest above it that has films."""
        return next((place for place in (folder, *folder.parents) if place in self._folders), PurePosixPath())

    def is_an_id(self, name: str) -> bool:
        """Whether it is a patient's or a study's, or looks like DICOM's."""
        return name in self._patients or name in self._studies or bool(_UID.fullmatch(name))

    def copies(self) -> Iterator[list[int]]:
        """Films of one instance (SOPInstanceUID) of one study."""
        return (same for same in self._sops.values() if len(same) > 1 and self._one_study(same))

    def fitting(
        self, name: str, folder: PurePosixPath, table_folder: PurePosixPath, params: DataParams
    ) -> tuple[list[int], str | None]:
        """The films that a row means, and why it is not certain.

        Args:
            name: as the row has it.
            folder: that of the table's films; only these are known by a part of their path.
            table_folder: that of the table.
            params: what a row names.

        """
        name = _cleaned(name)
        films = self._named(name, folder, table_folder)
        if films:
            one_instance = len(films) == 1 or len({self._sop_of.get(film, film) for film in films}) == 1
            return films, None if one_instance else f"{name!r} fits {self._several(films)}: name it by its path"
        uid = _PICTURE.sub("", name)
        films = self._sops.get(name) or self._sops.get(uid) or []
        if films:
            doubt = f"names an instance of different studies, {self._several(films)}: name it by its path"
            return films, None if self._one_study(films) else doubt
        films = self._studies.get(name, [])
        if films and params.label_unit == "film":
            return films, "names its study and not the film; if labels are by study, set data.label_unit: study"
        if films or params.label_unit == "film":
            return films, None
        return self._in_folders(name, folder)

    def _named(self, name: str, folder: PurePosixPath, table_folder: PurePosixPath) -> list[int]:
        beside = posixpath.normpath((table_folder / name).as_posix())
        for look, same in enumerate(_LOOKS):
            by_path = self._paths_as(look)
            films = by_path.get(same(beside)) or by_path.get(same(name))
            if films:
                return films
            end = same(name).strip("/")
            films = self._ends_as(look, end.count("/") + 1).get(end, [])
            films = [film for film in films if PurePosixPath(self.paths[film]).is_relative_to(folder)]
            if films:
                return films
        for look, same in enumerate(_LOOKS):
            parts = same(name).split("/")
            by_path = self._paths_as(look, self._above[-1:])
            for start in range(1, len(parts) if self._above else 0):
                if films := by_path.get("/".join(parts[start:])):
                    return films
        return []

    def _in_folders(self, name: str, folder: PurePosixPath) -> tuple[list[int], str | None]:
        """The films of the folder that a row names by the end of its path."""
        for look in (0, 1):
            end = _LOOKS[look](name).strip("/")
            count = end.count("/") + 1
            if (look, count) not in self._by_folder:
                places = [place for place in self._folders if len(place.parts) >= count]
                keys = (_LOOKS[look]("/".join(place.parts[-count:])) for place in places)
                self._by_folder[look, count] = {
                    key: [places[number] for number in numbers] for key, numbers in _gathered(keys).items()
                }
            places = [place for place in self._by_folder[look, count].get(end, []) if place.is_relative_to(folder)]
            if places:
                films = sorted({film for place in places for film in self._folders[place]})
                named = ", ".join(place.as_posix() for place in places[:3]) + ", …" * (len(places) > 3)
                doubt = f"{name!r} fits {len(places)} folders ({named}): name it by its path"
                return films, None if len(places) == 1 else doubt
        return [], None

    def _paths_as(self, look: int, above: tuple[str, ...] = ()) -> dict[str, list[int]]:
        """Films by their path, with these folders before it."""
        if (look, above) not in self._by_path:
            whole = ("/".join((*above, path.replace("\\", "/"))) for path in self.paths)
            self._by_path[look, above] = _gathered(map(_LOOKS[look], whole))
        return self._by_path[look, above]

    def _ends_as(self, look: int, count: int) -> dict[str, list[int]]:
        """Films by the last components of their path, which may begin above the folder of all films."""
        if (look, count) not in self._by_end:
            whole = ("/".join((*self._above, path.replace("\\", "/"))) for path in self.paths)
            ends = (_LOOKS[look]("/".join(path.split("/")[-count:])) for path in whole)
            self._by_end[look, count] = _gathered(ends)
        return self._by_end[look, count]

    def _one_study(self, films: list[int]) -> bool:
        return len({self._study_of.get(film) for film in films}) == 1

    def _several(self, films: list[int]) -> str:
        more = ", …" if len(films) > 3 else ""
        return f"{len(films)} films ({', '.join(self.paths[film] for film in films[:3])}{more})"


def _numbers(films: pd.DataFrame, column: str) -> dict[str, list[int]]:
    """Films by what a column says of them."""
    if column not in films:
        return {}
    values = [(film, value) for film, value in enumerate(films[column]) if isinstance(value, str)]
    by_value: dict[str, list[int]] = defaultdict(list)
    for film, value in values:
        by_value[value.strip()].append(film)
    return by_value


def _gathered(keys: Iterator[str]) -> dict[str, list[int]]:
    films: dict[str, list[int]] = defaultdict(list)
    for film, key in enumerate(keys):
        films[key].append(film)
    return films
