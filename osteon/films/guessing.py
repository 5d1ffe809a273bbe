"""Which layout a folder has, and what its class words mean: proposals, with what is not certain marked.

A layout module has, besides read,

    KNOWS: tuple[str, ...]                         of FACTS, what it can know of a film
    def class_words(root, params) -> Counter[str] | None

the words that data.classes would decide on, with their numbers; none where the layout's label needs no words; None
where the folder is not laid out like that.
"""

import importlib
import json
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from osteon.errors import OsteonError
from osteon.films.class_words import meaning_of
from osteon.films.film_files import film_files, plain_files
from osteon.films.labels.class_labels import label_of
from osteon.films.labels.label_columns import LabelColumns, label_columns
from osteon.films.layouts import annotations
from osteon.params import ClassNames, DataParams, layout_names

log = logging.getLogger(__name__)

FACTS = ("patients", "studies", "boxes", "types", "regions", "views", "hardware", "splits")
SHOWN = 12  # words or folders of a message
CHECK = "  # check"
TABLES = (".csv", ".tsv", ".txt")  # extensions


@dataclass(frozen=True)
class Fit:
    """A layout that fits a folder, and its class words with their numbers."""

    layout: str
    words: Counter[str]


@dataclass(frozen=True)
class Word:
    """A class word, how often it is there, and whether its meaning is certain."""

    text: str
    count: int
    sure: bool


@dataclass(frozen=True)
class Guess:
    """A proposal for the section data.

    others: words of neither class. also: other layouts that fit. columns: of the label table, where their names are not
    the defaults.
    """

    folder: Path
    films: int
    fit: Fit
    fractured: tuple[Word, ...]
    not_fractured: tuple[Word, ...]
    others: tuple[Word, ...]
    also: tuple[str, ...]
    columns: LabelColumns | None = None


def layout_module(name: str) -> ModuleType:
    """The module that reads a layout."""
    return importlib.import_module(f"osteon.films.layouts.{name}")


def layouts_by_knowledge() -> list[str]:
    """The layouts, those that know most first: of several that fit, the first loses least."""
    return sorted(layout_names(), key=lambda name: (-len(layout_module(name).KNOWS), name))


def fitting(root: Path, params: DataParams) -> Iterator[Fit]:
    """The layouts that fit a folder, those that know most first; one that seems to fit and fails is logged."""
    for name in layouts_by_knowledge():
        try:
            fit = _fit(name, root, params)
        except OsteonError as error:
            log.info("not the layout %s: %s", name, error)
            continue
        if fit is not None:
            yield fit


def _fit(name: str, root: Path, params: DataParams) -> Fit | None:
    """A layout's fit; None if the folder is not laid out like that.

    Raises:
        OsteonError: the folder has the layout's files, and one of them cannot be read.

    """
    words = layout_module(name).class_words(root, params)
    return None if words is None else Fit(name, words)


def guess(root: Path, params: DataParams) -> Guess:
    """Propose a layout and the meaning of its class words.

    Args:
        root: the folder.
        params: columns and label_file; classes, root and layout are not used.

    Raises:
        OsteonError: no such folder, no film, no layout fits, or no word is one for fractured; the text says what to do.

    """
    if not root.is_dir():
        raise OsteonError(f"{root}: no such folder")
    paths = list(film_files(root))
    films = len(paths)
    fits, faults = [], []
    for name in layouts_by_knowledge():
        try:
            if fit := _fit(name, root, params):
                fits.append(fit)
        except OsteonError as error:
            faults.append(f"not the layout {name}: {error}")
    proposals = [_proposal(root, films, fit) for fit in fits]
    usable = [proposal for proposal in proposals if proposal.fractured or _needs_no_words(proposal.fit)]
    if not usable and (proposal := _by_other_columns(root, paths, params)):
        usable = [proposal]
    if not films or not (fits or usable):
        raise OsteonError("; ".join([_nothing_fits(root, films), *faults]))
    if not usable:
        first = fits[0]
        words = ", ".join(f"{word!r} ({count:,})" for word, count in first.words.most_common(SHOWN))
        raise OsteonError(
            "".join(f"{fault}; " for fault in faults)
            + f"{root}: its layout may be {first.layout}, but none of its class words is one for fractured: "
            f"{words or 'there are none'}. Set data.layout: {first.layout}, and write into data.classes which words "
            "mean fractured and which do not"
        )
    best = usable[0]
    also = tuple(proposal.fit.layout for proposal in usable[1:])
    return replace(best, also=also)


def _by_other_columns(root: Path, films: list[Path], params: DataParams) -> Guess | None:
    """A proposal from a table of labels of another name, or with other columns; None unless there is just one."""
    tables = []
    for path in plain_files(root):
        if path.suffix.lower() in TABLES:
            try:
                columns = label_columns(path, films)
            except OsteonError as error:
                log.info("no table of labels: %s", error)
                continue
            tables += [columns] if columns else []
    if len(tables) != 1:
        return None
    (columns,) = tables
    names = params.columns.model_copy(update={"film": columns.film, "label": columns.label})
    place = columns.table.relative_to(root).as_posix()
    update = {"columns": names, "label_file": place}
    layout = "annotations" if columns.table.name.casefold() == annotations.TABLE else "dicom"
    fit = _fit(layout, root, params.model_copy(update=update))
    return replace(_proposal(root, len(films), fit), columns=columns) if fit else None


def _needs_no_words(fit: Fit) -> bool:
    return not fit.words


def _proposal(root: Path, films: int, fit: Fit) -> Guess:
    """What each word means, if the names of a layout's classes are all there is to go by."""
    sides: dict[int | None, list[Word]] = {1: [], 0: [], None: []}
    for text, count in fit.words.items():
        label = label_of(text, ClassNames())
        meaning = meaning_of(text)
        sure = meaning.sure or label is not None
        sides[meaning.label if label is None else label].append(Word(text, count, sure))
    # Of two words in a layout of two classes, one is known: the other is likely its opposite.
    if len(fit.words) == 2 and len(sides[None]) == 1 and "boxes" not in layout_module(fit.layout).KNOWS:
        (unknown,) = sides.pop(None)
        sides[None] = []
        sides[0 if sides[1] else 1].append(Word(unknown.text, unknown.count, sure=False))
    return Guess(root, films, fit, tuple(sides[1]), tuple(sides[0]), tuple(sides[None]), ())


def as_yaml(proposal: Guess) -> str:
    """The section data of params.yaml, and validation where the layout's finding needs it; comments mark doubts."""
    module = layout_module(proposal.fit.layout)
    lines = ["data:", f"  root: {_quoted(str(proposal.folder.absolute()))}", f"  layout: {proposal.fit.layout}"]
    if proposal.columns:
        if proposal.fit.layout != "annotations":
            lines.append(
                f"  label_file: {_quoted(proposal.columns.table.relative_to(proposal.folder).as_posix())}{CHECK}"
            )
        lines += ["  columns:", f"    film: {_quoted(proposal.columns.film)}{CHECK}"]
        lines.append(f"    label: {_quoted(proposal.columns.label)}{CHECK}")
    if proposal.fractured or proposal.not_fractured:
        lines.append("  classes:")
        for key, words in (("fractured", proposal.fractured), ("not_fractured", proposal.not_fractured)):
            if words:
                lines.append(f"    {key}:")
                lines += [f"      - {_quoted(word.text)}{'' if word.sure else CHECK}" for word in words]
    if proposal.others:
        boxes = "boxes" in module.KNOWS
        what = "no finding: these make no film positive" if boxes else "neither class: their films go to quarantine"
        names = ", ".join(_quoted(word.text) for word in proposal.others)
        lines.append(f"  # {what}: {names}{CHECK}")
    if (finding := getattr(module, "FINDING", "fractured")) != "fractured":
        lines += ["validation:", f"  finding: {finding}{CHECK}: its label does not mean fractured"]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A YAML scalar; JSON's strings are YAML's."""
    return json.dumps(text, ensure_ascii=False)


def seen(proposal: Guess) -> Iterator[str]:
    """What the proposal rests on, for a person."""
    knows = ", ".join(layout_module(proposal.fit.layout).KNOWS)
    yield f"{proposal.folder}: {proposal.films:,} films; layout {proposal.fit.layout}, which knows {knows}"
    for title, words in (
        ("fractured", proposal.fractured),
        ("not fractured", proposal.not_fractured),
        ("neither", proposal.others),
    ):
        if words:
            shown = ", ".join(f"{word.text!r} {word.count:,}{'' if word.sure else ' (check)'}" for word in words)
            yield f"{title}: {shown}"
    if proposal.also:
        yield f"also fits: {', '.join(proposal.also)}"


def _nothing_fits(root: Path, films: int) -> str:
    """What is there, and what to do so that a layout fits."""
    suffixes = Counter(path.suffix.lower() or "no extension" for path in root.rglob("*") if path.is_file())
    kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in suffixes.most_common(SHOWN)) or "nothing"
    if suffixes[".zip"] or suffixes[".gz"] or suffixes[".7z"] or suffixes[".rar"]:
        advice = "Unpack the archives"
    elif not films:
        advice = "Name the folder that holds the films"
    else:
        advice = (
            "Put the films into a folder for each class (fractured/, normal/), or write a table annotations.csv with "
            "the columns filename and fractured beside them (docs/data.md, Layouts)"
        )
    return f"{root}: no layout fits; it holds {kinds}. {advice}, and guess again"


def describe_layouts() -> Iterator[str]:
    """A line for each layout: the first of its docstring, and what it knows."""
    for name in layout_names():
        module = layout_module(name)
        first = (module.__doc__ or "").strip().partition("\n")[0]
        yield f"{name:<12} {first}"
        yield f"{'':<12} knows {', '.join(module.KNOWS)}"
