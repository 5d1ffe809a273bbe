"""Of how many films the patient is known: numbers and the sentences that reports, card and console say of it.

All of it is counted from rows, so that no page says more of patients than the set does.
"""

from dataclasses import dataclass

import pandas as pd

# What patient_source and study_source of the manifest may say.
PATTERN, COLUMN, TAG, PATH, PSEUDONYM, GUESS = (
    "data.patient_pattern",
    "column",
    "DICOM tag",
    "path",
    "pseudonym",
    "guess",
)


@dataclass(frozen=True)
class KnownPatients:
    """Counts of films: all, those whose patient is known, by a pseudonym that is kept; the same of studies.

    patients, studies: how many different ones. guessed: films whose study is a guess of the layout.
    """

    films: int
    known: int
    patients: int
    pseudonyms: int
    in_studies: int
    studies: int
    guessed: int

    @property
    def unknown(self) -> int:
        """Films of nobody knows whom."""
        return self.films - self.known

    @property
    def count(self) -> str:
        """'known for 40 of 48 films (20 patients)'; where it is not all, also what is known of studies."""
        counted = f"known for {self.known:,} of {self.films:,} films"
        if self.known:
            counted += f" ({self.patients:,} {'patient' if self.patients == 1 else 'patients'})"
        return counted + (f"; {self._studies}" if self.unknown else "")

    @property
    def line(self) -> str:
        """The count, after 'unknown' where it is none."""
        return self.count if self.known else f"unknown, {self.count}"

    @property
    def _studies(self) -> str:
        if self.guessed:
            return "studies are guessed from file numbers"
        if not self.in_studies:
            return "studies are unknown too"
        studies = "1 study" if self.studies == 1 else f"{self.studies:,} studies"
        return f"the study is known for {self.in_studies:,} ({studies})"

    @property
    def warning(self) -> str | None:
        """What it means that the patient of some films is unknown, and what to do; None where all are known."""
        if not self.unknown:
            return None
        which = "patients are" if not self.known else f"the patient of {self.unknown:,} of {self.films:,} films is"
        return (
            f"{which} unknown, so films of one patient may be in training and test; name a column with them "
            "(data.columns.patient), or the part of the path that names them (data.patient_pattern; "
            "`osteon ingest --dry-run` shows what it finds)"
        )

    @property
    def group(self) -> str:
        """What a group of films is, after 'groups of'."""
        films = "studies guessed from file numbers" if self.guessed else "studies" if self.in_studies else ""
        if not self.unknown:
            return "patients and copies of their films"
        known = " and ".join(part for part in (films, "copies of a film") if part)
        if not self.known:
            return f"{known}; patients are unknown, so one may be in several groups"
        return (
            f"patients where they are known, {known}; for {self.unknown:,} of {self.films:,} films the patient is "
            "unknown, so one may be in several groups"
        )

    @property
    def apart(self) -> str:
        """What is on one side of the split only, where no group is torn."""
        if not self.unknown:
            return "No patient, study or copy of a film is on both sides"
        what = "study or copy of a film" if self.in_studies and not self.guessed else "copy of a film"
        guess = ", nor is a study as it was guessed from file numbers" if self.guessed else ""
        whose = "patients are" if not self.known else f"the patient of {self.unknown:,} of {self.films:,} films is"
        return f"No {what} is on both sides{guess}. **Whether a patient is, nobody knows: {whose} unknown**"

    @property
    def hashed(self) -> str:
        """What became of the source's ids."""
        sentences = []
        if self.known > self.pseudonyms:
            sentences.append("Patients' ids were replaced by a keyed hash before anything was kept")
        if self.pseudonyms:
            sentences.append("The source's pseudonyms of patients were kept as they are")
        if not self.known:
            sentences.append("The films came without ids of patients")
        return "; ".join(sentences)


def count_patients(films: pd.DataFrame) -> KnownPatients:
    """Count what is known.

    Args:
        films: patient_id, study_id, patient_source and study_source, one row a film.

    """
    return KnownPatients(
        films=len(films),
        known=int(films["patient_id"].notna().sum()),
        patients=int(films["patient_id"].nunique()),
        pseudonyms=int((films["patient_source"] == PSEUDONYM).sum()),
        in_studies=int(films["study_id"].notna().sum()),
        studies=int(films["study_id"].nunique()),
        guessed=int((films["study_source"] == GUESS).sum()),
    )
