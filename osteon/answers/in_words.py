"""An answer in words that a person understands."""

import math
from collections.abc import Sequence

from osteon.models.package.package import REFUSED, PackageInfo


def in_words(probability: float, answer: str, warnings: Sequence[str], info: PackageInfo) -> str:
    """One film's or study's answer, and what it means.

    Args:
        probability: calibrated; NaN where the film was refused.
        answer: as the package gives it.
        warnings: of a refused film, why.
        info: of the model.

    """
    if answer == REFUSED or not math.isfinite(probability):
        return f"no answer: {'; '.join(warnings) or 'the film was refused'}"
    low, high = info.points.rule_out.threshold, info.points.rule_in.threshold
    if low == high:
        place = f"{'at or above' if probability >= high else 'below'} {{high}}, where rule-out and rule-in meet"
    elif probability < low:
        place = "below rule-out {low}"
    elif probability >= high:
        place = "at or above rule-in {high}"
    else:
        place = "between rule-out {low} and rule-in {high}"
    shown, below, above = percentages(probability, low, high)
    if not 0.005 <= probability <= 0.995:  # no film is certain
        shown = "< 1 %" if probability < 0.5 else "> 99 %"
    learnt = f"{100 * info.prevalence:.0f} of 100 films it was trained on were {spoken(info.finding)}."
    sentences = [f"{shown} – {spoken(answer)}: {place.format(low=below, high=above)}.", learnt]
    return " ".join([*sentences, *(f"{spoken(warning[0].upper() + warning[1:])}." for warning in warnings)])


def spoken(word: str) -> str:
    """A finding's name as a person says it."""
    return word.replace("_", " ")


def percentages(probability: float, low: float, high: float) -> list[str]:
    """The three as percentages, with as many digits as show on which side of the others the first lies."""
    for digits in range(4):
        texts = [f"{100 * value:.{digits}f}" for value in (probability, low, high)]
        same = [float(texts[0]) == float(text) for text in texts[1:]]
        if same == [probability == low, probability == high]:
            break
    return [f"{text} %" for text in texts]
