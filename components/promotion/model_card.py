"""The model card of a version: a page in Markdown, from a template that its owner writes.

The template (mlflow/model_card.md.j2) has the text and, beside each part, the items of the reporting checklists that it
answers. The table at the card's end is made from these, so the two cannot differ.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined, TemplateError
from jinja2.exceptions import TemplateSyntaxError
from markupsafe import escape

from components.promotion.checklists import CHECKLISTS, CLAIM, STARD, TRIPOD
from components.promotion.decision import GROUPS_IN_BOTH, Decision
from osteon.errors import OsteonError
from osteon.films.known_patients import count_patients
from osteon.models.package.package import PackageInfo
from osteon.redaction import redact
from osteon.statistics.estimate import Estimate, shown

NOT_STATED = "_Not stated._"
MOST_VALUES = 12  # rows of an attribute in the card


@dataclass(frozen=True)
class Share:
    """Films with one value of an attribute, and how many of them are positive, for each side of the split."""

    attribute: str
    value: str
    films: int
    positive: int
    test_films: int
    test_positive: int


class Items:
    """Which part of a card answers which items of the checklists; parts are added as the template is read."""

    def __init__(self) -> None:
        self.parts: list[tuple[str, dict[str, list[str]]]] = []

    def section(self, title: str, claim: str = "", tripod: str = "", stard: str = "") -> str:
        """A heading, and the items that the text below it answers: numbers with blanks between."""
        self._answers(title, {CLAIM: claim, TRIPOD: tripod, STARD: stard})
        return f"## {title}"

    def stated(self, what: str, text: str, claim: str = "", tripod: str = "", stard: str = "") -> str:
        """What only a person can say. Without a text the items are not answered, and the card says so."""
        if text.strip():
            self._answers(what, {CLAIM: claim, TRIPOD: tripod, STARD: stard})
        return f"- **{what}.** {text.strip() or NOT_STATED}"

    def _answers(self, part: str, items: Mapping[str, str]) -> None:
        numbers = {checklist: text.split() for checklist, text in items.items()}
        for checklist, answered in numbers.items():
            if unknown := [number for number in answered if number not in CHECKLISTS[checklist]]:
                raise TemplateError(f"'{part}': {checklist} has no item {unknown[0]}")
        self.parts.append((part, numbers))

    def table(self) -> str:
        """Parts and the items they answer, in Markdown; below, how many and which are not answered."""
        lines = [f"| part | {' | '.join(CHECKLISTS)} |", "|---|" + "---|" * len(CHECKLISTS)]
        for part, numbers in self.parts:
            if any(numbers.values()):
                lines.append(f"| {part} | {' | '.join(', '.join(numbers[name]) or '–' for name in CHECKLISTS)} |")
        lines.append("")
        for checklist, items in CHECKLISTS.items():
            answered = {number for _, numbers in self.parts for number in numbers[checklist]}
            missing = [f"{number} {topic}" for number, topic in items.items() if number not in answered]
            lines.append(
                f"- {checklist}: {len(answered)} of {len(items)} answered"
                + (f". Not: {', '.join(missing)}." if missing else ".")
            )
        return "\n".join(lines)


@dataclass(frozen=True)
class CardContent:
    """What a card is rendered from.

    version: number, or 'candidate' where it has none. decision: on it. info: of its package. metrics: of its
    evaluation; None: no evaluation of this model is known. external: those of its tests on other people's films.
    films: the prepared ones; columns test, label, group, source, region, view, hardware, …. steps: the figures that
    each step behind it recorded, by step. origin: commit, data, image, … by name. params: all that it was made with.
    at: when. who: decided.
    """

    version: str
    decision: Decision
    info: PackageInfo
    metrics: dict[str, Any] | None
    external: list[dict[str, Any]]
    films: pd.DataFrame
    steps: Mapping[str, Mapping[str, float]]
    origin: Mapping[str, str]
    params: Mapping[str, str]
    at: str
    who: str


def render_card(template: Path, content: CardContent) -> str:
    """The card of a version.

    Args:
        template: Jinja, the text in Markdown.
        content: of the version.

    Raises:
        OsteonError: the template cannot be read, has a fault or names what does not exist, with the line.

    """
    items = Items()
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=redact)  # noqa: S701 – Markdown; names are escaped by the filter
    environment.filters |= {"shown": lambda estimate: shown(Estimate(**estimate)), "name": name_in_table}
    films = content.films
    test = films["test"].to_numpy(bool)
    try:
        text = template.read_text(encoding="utf-8")
        card = environment.from_string(text).render(
            section=items.section,
            stated=items.stated,
            checklists=items.table,
            version=content.version,
            decision=content.decision,
            info=content.info,
            metrics=content.metrics,
            external="; ".join(map(external_in_words, content.external)),
            shares=shares(films),
            sources=sorted({str(source) for source in films["source"].dropna()}),
            development=_counts(films[~test]),
            test=_counts(films[test]),
            patients=count_patients(films),
            # What is not known counts as not so, as in the decision.
            apart=any(rule.numbers.get(GROUPS_IN_BOTH) == 0 for rule in content.decision.rules),
            steps=content.steps,
            origin=content.origin,
            params=content.params,
            at=content.at,
            who=content.who,
        )
    except (OSError, UnicodeDecodeError) as error:
        raise OsteonError(f"{template}: the model card's template cannot be read ({error})") from None
    except (TemplateError, TypeError, ValueError) as error:
        line = error.lineno if isinstance(error, TemplateSyntaxError) else _line_of(error)
        where = f"line {line}: " if line else ""
        raise OsteonError(f"{template}: {where}{error}") from None
    return card.strip() + "\n"


def external_in_words(metrics: Mapping[str, Any]) -> str:
    """A test on other people's films, and how it differs from the model's own test; on one line."""
    test, external = metrics["test"], metrics["external"]
    auroc, refused = Estimate(**test["auroc"]), metrics["refused"]
    words = [
        f"{test['n']} films of {test['groups']} groups of {name_in_table(external['folder'])}, "
        f"{test['prevalence']:.0%} positive: AUROC {shown(auroc)}"
    ]
    if difference := external["differences"].get("AUROC"):
        words.append(f"less that of its own test {shown(Estimate(**difference['difference']))}")
    words.append(f"kept at rule out {shown(Estimate(**metrics['operating_points']['sensitivity']['share']))}")
    words.append(f"at rule in {shown(Estimate(**metrics['operating_points']['specificity']['share']))}")
    words.append(f"refused {shown(Estimate(**refused))}" if refused else "no film can be refused as unlike")
    words.append(f"taken out {sum(external['taken_out'].values())} films that it had seen")
    return ", ".join(words)


def _line_of(error: Exception) -> int | None:
    """The template's line in which rendering stopped: jinja puts it into the traceback."""
    line, step = None, error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == "<template>":
            line = step.tb_lineno
        step = step.tb_next
    return line


def _counts(films: pd.DataFrame) -> dict[str, Any]:
    """How many films, groups and, in words, patients."""
    patients, unknown = films["patient_id"].nunique(), int(films["patient_id"].isna().sum())
    text = f"{patients} patients" if patients else "patients not known"
    if patients and unknown:
        text += f", unknown for {unknown} films"
    return {"films": len(films), "groups": int(films["group"].nunique()), "patients": text}


def name_in_table(text: object) -> str:
    """A name that comes from the films' files, so that it stays one cell of a table and no markup."""
    return str(escape(str(text).replace("\n", " "))).replace("|", "&#124;")


def shares(films: pd.DataFrame) -> list[Share]:
    """What the films are of, by source, region, view and hardware; the most frequent values of each first."""
    table = []
    for attribute in ("source", "region", "view", "hardware"):
        named = films[attribute].map({True: "yes", False: "no"}) if attribute == "hardware" else films[attribute]
        values = named.astype("string").fillna("unknown")
        counts = values.value_counts()
        if len(counts) > MOST_VALUES:
            rest = f"{len(counts) - MOST_VALUES} others"
            values = values.where(values.isin(counts.index[:MOST_VALUES]), rest)
            counts = values.value_counts().drop(rest)
            counts[rest] = int((values == rest).sum())
        for value in counts.index:
            matching = films[(values == value).to_numpy(bool)]
            test = matching["test"].to_numpy(bool)
            labels = matching["label"].to_numpy(int)
            table.append(
                Share(
                    attribute,
                    str(value),
                    int((~test).sum()),
                    int(labels[~test].sum()),
                    int(test.sum()),
                    int(labels[test].sum()),
                )
            )
    return table
