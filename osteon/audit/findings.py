"""What an audit found: records that are printed, and written as JSON."""

from pydantic import BaseModel, ConfigDict

from osteon.statistics.estimate import Estimate


class Record(BaseModel):
    """Written as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Sign(Record):
    """A kind of copy: pairs of films that show it, and the films in them."""

    name: str
    pairs: int
    films: int


class SplitLeak(Record):
    """Films of one split that have something in common with a film of another."""

    split: str
    other: str
    films: int  # of `split`
    copies: int  # of them, with a copy in `other`
    other_copies: int  # films of `other` with a copy in `split`
    patients: int  # patients with films in both; 0 where no patient is known
    studies: int
    patient_films: int  # films of `split` whose patient or study is in `other` too


class Contradiction(Record):
    """Copies of one film, labelled both ways."""

    likeness: float | None  # null: on the same pixels; else the lowest score, 0 … 1, among the near copies
    positive: list[str]
    negative: list[str]


class CrossValidation(Record):
    """How good a model is on held-out films."""

    accuracy: Estimate
    auroc: Estimate


class Gap(Record):
    """A quick classical model, validated by films drawn at random and by whole groups."""

    films: int = 0
    groups: int = 0
    left_out: int = 0  # films beyond the most that are used
    skipped: str | None = None  # why nothing was measured
    majority: float | None = None  # accuracy of always answering the commoner class
    random: CrossValidation | None = None
    grouped: CrossValidation | None = None
    difference: Estimate | None = None  # of the two accuracies


class Audit(Record):
    """The whole of audit.json. No ids of patients, no path above the folder; films by their path below it."""

    folder: str
    layout: str | None  # null: none fitted, films without labels
    finding: str  # what a positive label means
    confidence: float
    films: int
    readable: int
    unreadable: dict[str, int]  # reason → films, the commonest first
    positive: int  # readable films with a label that the layout does not doubt
    negative: int
    doubts: dict[str, int]  # why the others have none
    sources: int  # films when copies count as one
    most_copies: int  # films that show one source
    groups: int  # of films that share a source, patient or study
    patients: int | None  # null: no patient is known
    patients_known: int  # readable films whose patient is known
    known: str  # the same in words, and what is known of studies
    signs: list[Sign]
    splits: dict[str, int]  # readable films
    without_split: int
    leaks: list[SplitLeak]  # for each two splits
    contradictions: list[Contradiction]
    gap: Gap
    not_read: dict[str, int] = {}  # kind and what to do → files that look like films, or may hold some
    skipped: dict[str, int] = {}  # kind → files that go with films and are none

    @property
    def leaking(self) -> bool:
        """Whether a copy, a patient or a study is on two sides of the given splits."""
        return any(leak.copies or leak.patients or leak.studies for leak in self.leaks)

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.leaking:
            phrases = [_leak(leak) for leak in self.leaks if leak.copies or leak.patients or leak.studies]
            return f"The given splits leak: {'; '.join(phrases)}."
        films = "1 source film" if self.sources == 1 else f"{self.sources:,} source films"
        what = f"{films} behind {self.readable:,} images"
        if self.leaks:
            splits = f"no two of the splits {', '.join(self.splits)} share"
            if self.patients is None:
                return f"No copy found; patients unknown: {splits} a copy, but they may share patients; {what}."
            if self.patients_known < self.readable:
                count = self.readable - self.patients_known
                unknown = f"the patient of {count:,} {'film' if count == 1 else 'films'} is unknown"
                return (
                    f"No leak found among the {self.patients_known:,} films whose patient is known; {unknown}; {what}."
                )
            return f"No leak found: {splits} a copy or a patient; {what}."
        given = f"All films are in one split ({next(iter(self.splits))})" if self.splits else "No splits are given"
        unknown = "; patients unknown" if self.patients is None else ""
        return f"{given}, so none can leak{unknown}; {what}."


def _leak(leak: SplitLeak) -> str:
    phrases = []
    if leak.copies:
        share = f"{leak.copies:,} of {leak.films:,} {leak.split} films ({leak.copies / leak.films:.0%})"
        phrases.append(f"{share} {'has' if leak.copies == 1 else 'have'} a copy among the {leak.other} films")
    if leak.patients or leak.studies:
        count, what = (leak.patients, "patient") if leak.patients else (leak.studies, "study")
        many = what if count == 1 else {"patient": "patients", "study": "studies"}[what]
        phrases.append(f"{count:,} {many} {'is' if count == 1 else 'are'} in both {leak.other} and {leak.split}")
    return " and ".join(phrases)
