"""What is expected of films and manifest, in Great Expectations, and its Data Docs as HTML.

Two suites. 'films' checks each film; a film that fails goes to quarantine with the reason. 'manifest' checks the whole;
what it expects with severity 'critical' stops the pipeline, what it expects with 'warning' is a note.
"""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osteon.films.manifest import COLUMNS
from osteon.params import ValidationParams

os.environ["GX_ANALYTICS_ENABLED"] = "false"  # it would call home; it reads this while it is imported

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd

# It logs each thing it makes, and the second logger has a level of its own.
for _name in ("great_expectations", "great_expectations.data_context.types.base"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@dataclass(frozen=True)
class Broken:
    """An expectation of the whole that was not met."""

    critical: bool
    text: str


def film_expectations(params: ValidationParams) -> list[tuple[Any, str]]:
    """What each film must be, with the reason to give where it is not; {value} is what was observed."""

    def within(column: str, reason: str, **limits: float) -> tuple[Any, str]:
        return gxe.ExpectColumnValuesToBeBetween(column=column, severity="warning", **limits), reason

    return [
        (gxe.ExpectColumnValuesToBeNull(column="doubt", severity="warning"), "{value}"),
        (gxe.ExpectColumnValuesToNotBeNull(column="label", severity="warning"), "no label"),
        (gxe.ExpectColumnValuesToBeNull(column="fault", severity="warning"), "{value}"),
        within(
            "short_side",
            f"shorter side {{value:.0f}} pixels, below min_side = {params.min_side}",
            min_value=params.min_side,
        ),
        within(
            "aspect",
            f"aspect ratio {{value:.1f}}, above max_aspect = {params.max_aspect:g}",
            max_value=params.max_aspect,
        ),
        within(
            "contrast",
            f"blank: contrast {{value:.1f}} of 256 grey levels, below min_contrast = {params.min_contrast:g}",
            min_value=params.min_contrast,
        ),
        within(
            "chroma",
            f"a colour picture: chroma {{value:.1f}}, above max_chroma = {params.max_chroma:g}",
            max_value=params.max_chroma,
        ),
        within("boxes_outside", "{value:.0f} of its boxes are not wholly on the film", max_value=0),
        (gxe.ExpectColumnValuesToBeNull(column="contradicted_by", severity="warning"), "{value}"),
        (gxe.ExpectColumnValuesToBeNull(column="odd", severity="warning"), "{value}"),
    ]


def manifest_expectations(params: ValidationParams) -> list[tuple[Any, str]]:
    """What the trusted films must be as a whole, with the text where they are not; {value} is what was observed."""

    def filled(column: str) -> tuple[Any, str]:
        return gxe.ExpectColumnValuesToNotBeNull(column=column), f"{column} is null for {{value}}"

    share = f"between min_positive = {params.min_positive:g} and max_positive = {params.max_positive:g}"
    return [
        (gxe.ExpectTableColumnsToMatchSet(column_set=list(COLUMNS)), "the manifest's columns are {value}"),
        *(
            (
                gxe.ExpectColumnValuesToBeOfType(column=column, type_=kind),
                f"{column} is {{value}}, not {kind}",
            )
            for column, kind in GX_TYPES.items()
        ),
        *(filled(column) for column in ("film_id", "path", "sha256", "label", "finding", "width", "height")),
        (gxe.ExpectColumnValuesToBeUnique(column="film_id"), "ids that more than one film has: {value}"),
        (
            gxe.ExpectColumnValuesToBeInSet(column="label", value_set=[0, 1]),
            "labels other than 0 and 1: {value}",
        ),
        (
            gxe.ExpectColumnValuesToBeInSet(column="finding", value_set=[params.finding]),
            f"films are labelled for {{value}}, the pipeline trains for '{params.finding}'; set validation.finding to "
            "train on such labels knowingly",
        ),
        (
            gxe.ExpectColumnMeanToBeBetween(
                column="label", min_value=params.min_positive, max_value=params.max_positive
            ),
            f"the share of {params.finding} films is {{value}}, not {share}; are both classes there?",
        ),
        (
            gxe.ExpectColumnUniqueValueCountToBeBetween(column="label", min_value=2, max_value=2),
            "{value} class among the films, not two",
        ),
        (
            gxe.ExpectColumnMedianToBeBetween(column="width", min_value=128, severity="warning"),
            "half of the films are at most {value} pixels wide; a fine break is not visible on them",
        ),
    ]


# Types as Great Expectations names those of a column without nulls.
GX_TYPES = {"label": "int8", "width": "int32", "height": "int32"}


class Validator:
    """Great Expectations on frames in memory; its results as plain values and as HTML."""

    def __init__(self) -> None:
        self.context = gx.get_context(mode="ephemeral")
        self.context.variables.progress_bars = {"globally": False}
        self.source = self.context.data_sources.add_pandas("manifest")

    def run(self, name: str, frame: pd.DataFrame, expectations: list[tuple[Any, str]]) -> list[Any]:
        """Validate a frame; one result an expectation, in their order, failed ones with all their row numbers."""
        asset = self.source.add_dataframe_asset(name)
        batch = asset.add_batch_definition_whole_dataframe(name)
        suite = self.context.suites.add(gx.ExpectationSuite(name=name))
        for expectation, _ in expectations:
            suite.add_expectation(expectation)
        definition = self.context.validation_definitions.add(
            gx.ValidationDefinition(name=name, data=batch, suite=suite)
        )
        outcome = definition.run(batch_parameters={"dataframe": frame}, result_format="COMPLETE")
        # The results come back in an order of their own.
        by_id = {result.expectation_config.id: result for result in outcome.results}
        return [by_id[expectation.id] for expectation in suite.expectations]

    def write_docs(self, folder: Path) -> None:
        """Write Data Docs, a small web site, into a folder."""
        self.context.add_data_docs_site(
            site_name="osteon",
            site_config={
                "class_name": "SiteBuilder",
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
                "store_backend": {
                    "class_name": "TupleFilesystemStoreBackend",
                    "base_directory": str(folder.resolve()),
                },
                "show_how_to_buttons": False,
            },
        )
        self.context.build_data_docs(site_names=["osteon"])


def failing_films(frame: pd.DataFrame, results: list[Any], expectations: list[tuple[Any, str]]) -> dict[int, list[str]]:
    """Row number → reasons, for every film that fails an expectation."""
    reasons: dict[int, list[str]] = {}
    for result, (expectation, reason) in zip(results, expectations, strict=True):
        if result.success:
            continue
        for row in result.result["unexpected_index_list"]:
            reasons.setdefault(row, []).append(reason.format(value=frame[expectation.column][row]))
    return reasons


def broken_expectations(results: list[Any], expectations: list[tuple[Any, str]]) -> list[Broken]:
    """The expectations of the whole that failed, in words."""
    broken = []
    for result, (expectation, text) in zip(results, expectations, strict=True):
        if not result.success:
            observed = result.result.get("observed_value")
            if observed is None:
                observed = sorted(map(str, set(result.result.get("partial_unexpected_list", ()))))[:5]
            broken.append(Broken(expectation.severity == "critical", text.format(value=_shown(observed))))
    return broken


def _shown(observed: object) -> object:
    if isinstance(observed, float):
        return f"{observed:.4g}"
    return ", ".join(observed) if isinstance(observed, list) else observed
