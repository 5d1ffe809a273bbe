"""A packaged model on other people's films: any labelled folder."""

from pathlib import Path
from typing import Annotated

from osteon.contract import Input, Option, Output, Summary
from osteon.params import CertaintyParams, DataParams, EvaluationParams, ValidationParams

TAKEN_OUT, COPIES = "taken_out.csv", "copies"
TRUSTED = "data/trusted.parquet"


class ExternalTestSummary(Summary):
    """What other people's films say of the model.

    external: its figures there, by names that stand beside those of its own test on the model's page: films, groups,
    taken_out, quarantined, auroc, …. statements: sentences for a person, after the figures.
    """

    external: dict[str, float]
    statements: list[str]

    def line(self) -> str:
        """The figures, and each sentence on a line of its own."""
        counts = f"{self.external['films']:,.0f} films of {self.external['groups']:,.0f} groups"
        return "\n  ".join([counts, *self.statements])


class RecalibrationSummary(ExternalTestSummary):
    """The same of the films that the model was not set on, and why a new one was made."""

    set_on: int
    why: str

    def tags(self) -> dict[str, str]:
        """Why the model was set anew, for who looks for its lineage."""
        return {"osteon.recalibrated.why": self.why, "osteon.recalibrated.films": str(self.set_on)}


def external_test(
    model: Annotated[Path, Input("the packaged model", "model")],
    root: Annotated[Path, Input("folder of labelled films")],
    report: Annotated[Path, Output("metrics.json, tables, figures and report.html", "report")],
    params: EvaluationParams,
    data: DataParams,
    validation: ValidationParams,
    certainty: CertaintyParams,
    trusted: Annotated[str, Option("manifest of the films that the model was trained on")] = TRUSTED,
    films: Annotated[str, Option("folder of the films that the model was trained on")] = "",
    same_patients: Annotated[bool, Option("an id of a patient means the same person in both sets")] = False,
) -> ExternalTestSummary:
    """Measure a packaged model on films that are not from where it was trained."""
    from components.external_test.run import Settings, Sources, run_external_test

    sources = Sources(model, root, Path(trusted), Path(films), same_patients)
    return run_external_test(sources, report, Settings(params, data, validation, certainty))


def recalibrate(
    model: Annotated[Path, Input("the packaged model", "model")],
    root: Annotated[Path, Input("folder of labelled films")],
    report: Annotated[Path, Output("metrics.json, tables, figures and report.html", "report")],
    recalibrated: Annotated[Path, Output("the packaged model, set anew", "model")],
    params: EvaluationParams,
    data: DataParams,
    validation: ValidationParams,
    certainty: CertaintyParams,
    trusted: Annotated[str, Option("manifest of the films that the model was trained on")] = TRUSTED,
    films: Annotated[str, Option("folder of the films that the model was trained on")] = "",
    same_patients: Annotated[bool, Option("an id of a patient means the same person in both sets")] = False,
    set_on: Annotated[int, Option("films to set calibration and operating points anew on")] = 0,
    why: Annotated[str, Option("the reason, kept with the run")] = "",
) -> RecalibrationSummary:
    """Set calibration and operating points anew on some of the films, and measure the model on the others."""
    from components.external_test.run import Settings, Sources, run_recalibrate

    sources = Sources(model, root, Path(trusted), Path(films), same_patients)
    settings = Settings(params, data, validation, certainty)
    return run_recalibrate(sources, report, recalibrated, settings, set_on, why)
