"""An answer as a sentence: the same numbers as in the table, on the right side of both points."""

import math

import pytest

from osteon.answers.in_words import in_words, percentages
from tests.making import package_info, points_at

INFO = package_info(points=points_at(0.17, 0.78), prevalence=0.38, finding="fractured")


@pytest.mark.parametrize(
    ("probability", "answer", "text"),
    [
        (0.74, "uncertain", "74 % – uncertain: between rule-out 17 % and rule-in 78 %."),
        (0.05, "not fractured", "5 % – not fractured: below rule-out 17 %."),
        (0.998, "fractured", "> 99 % – fractured: at or above rule-in 78 %."),
        (0.002, "not fractured", "< 1 % – not fractured: below rule-out 17 %."),
        (0.91, "fractured", "91 % – fractured: at or above rule-in 78 %."),
        (0.78, "fractured", "78 % – fractured: at or above rule-in 78 %."),
        (0.17, "uncertain", "17 % – uncertain: between rule-out 17 % and rule-in 78 %."),
        # With as many digits as show on which side it lies.
        (0.7796, "uncertain", "77.96 % – uncertain: between rule-out 17.00 % and rule-in 78.00 %."),
        (0.1698, "not fractured", "16.98 % – not fractured: below rule-out 17.00 %."),
    ],
)
def test_an_answer_in_words(probability: float, answer: str, text: str) -> None:
    learnt = "38 of 100 films it was trained on were fractured."
    assert in_words(probability, answer, [], INFO) == f"{text} {learnt}"


def test_warnings_follow() -> None:
    text = in_words(0.5, "uncertain", ["low quality: 3 grey levels", "a region never seen: lower_leg"], INFO)
    assert text.endswith("were fractured. Low quality: 3 grey levels. A region never seen: lower leg.")


def test_a_refused_film_has_its_reason_and_no_number() -> None:
    assert in_words(math.nan, "refused", ["empty file (0 bytes)"], INFO) == "no answer: empty file (0 bytes)"


def test_points_that_meet() -> None:
    info = package_info(points=points_at(0.4, 0.4), prevalence=0.5)
    assert in_words(0.4, "fractured", [], info).startswith(
        "40 % – fractured: at or above 40 %, where rule-out and rule-in meet."
    )
    assert in_words(0.1, "not fractured", [], info).startswith("10 % – not fractured: below 40 %, where")


def test_numbers_that_are_the_same_to_every_digit_shown() -> None:
    """Nothing else can be done than to stop."""
    assert percentages(0.3, 0.3 + 1e-12, 0.8) == ["30.000 %", "30.000 %", "80.000 %"]
