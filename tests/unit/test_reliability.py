"""Bins and calibration error by hand, against scikit-learn, and of models that are calibrated by construction."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.calibration import calibration_curve

from components.evaluation.figures import draw_reliability
from osteon.statistics.bootstrap import group_weights
from osteon.statistics.calibration import cross_fitted
from osteon.statistics.estimate import Floats, Labels
from osteon.statistics.proportions import wilson
from osteon.statistics.reliability import Reliability, reliability

SETTINGS = settings(deadline=None, max_examples=60)


def found(labels: Labels, probabilities: Floats, groups: Labels | None = None, bins: int = 10) -> Reliability:
    groups = np.arange(len(labels)) if groups is None else groups
    return reliability(labels, probabilities, groups, 0.95, 200, 1, bins)


@st.composite
def said(draw: st.DrawFn) -> tuple[Labels, Floats]:
    """Films of both classes; ties are common."""
    count = draw(st.integers(4, 60))
    labels = [0, 1, *draw(st.lists(st.integers(0, 1), min_size=count - 2, max_size=count - 2))]
    return np.array(labels), np.array(draw(st.lists(st.integers(0, 20), min_size=count, max_size=count))) / 20


def test_two_bins_by_hand() -> None:
    """0.1, 0.2, 0.3: one of three positive, 0.2 said. 0.6, 0.7, 0.9: two of three, 2.2/3 said."""
    labels, probabilities = np.array([0, 1, 0, 1, 0, 1]), np.array([0.1, 0.3, 0.2, 0.9, 0.6, 0.7])
    item = found(labels, probabilities, bins=2)
    assert [(part.films, part.positive) for part in item.bins] == [(3, wilson(1, 3, 0.95)), (3, wilson(2, 3, 0.95))]
    assert [part.probability for part in item.bins] == pytest.approx([0.2, 2.2 / 3])
    assert item.ece.value == pytest.approx((0.4 + 0.2) / 6)
    variances = 0.09 + 0.21 + 0.16, 0.09 + 0.24 + 0.21
    assert item.by_chance == pytest.approx(sum(np.sqrt(2 / np.pi * each) for each in variances) / 6)


def test_the_bins_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.random(1000) ** 2
    labels = (rng.random(1000) < probabilities).astype(np.int64)
    shares, means = calibration_curve(labels, probabilities, n_bins=10, strategy="quantile")
    item = found(labels, probabilities)
    assert [part.films for part in item.bins] == [100] * 10
    assert [part.positive.value for part in item.bins] == pytest.approx(shares.tolist())
    assert [part.probability for part in item.bins] == pytest.approx(means.tolist())
    assert item.ece.value == pytest.approx(np.abs(shares - means).mean())


@SETTINGS
@given(said(), st.integers(1, 12))
def test_films_of_one_probability_share_a_bin_and_their_order_does_not_matter(
    films: tuple[Labels, Floats], bins: int
) -> None:
    labels, probabilities = films
    item = found(labels, probabilities, bins=bins)
    assert sum(part.films for part in item.bins) == len(labels)
    assert len(item.bins) <= bins
    ends = np.cumsum([part.films for part in item.bins])[:-1]
    rising = np.sort(probabilities)
    assert (rising[ends - 1] < rising[ends]).all()
    order = np.random.default_rng(0).permutation(len(labels))
    other = found(labels[order], probabilities[order], bins=bins)
    assert [part.films for part in other.bins] == [part.films for part in item.bins]
    assert other.ece.value == pytest.approx(item.ece.value)


def test_a_model_that_says_one_thing_has_one_bin() -> None:
    item = found(np.array([0, 1, 0, 0]), np.full(4, 0.4))
    assert [part.films for part in item.bins] == [4]
    assert item.ece.value == pytest.approx(0.15)


@pytest.mark.parametrize("films", [60, 300, 3000])
def test_a_perfect_models_error_is_the_one_by_chance(films: int) -> None:
    """200 draws of labels from the probabilities themselves: biased upward, and by how much is said."""
    rng = np.random.default_rng(0)
    probabilities = rng.beta(0.5, 2, films)
    draws = [(rng.random(films) < probabilities).astype(np.int64) for _ in range(200)]
    items = [reliability(labels, probabilities, np.arange(films), 0.95, 1, 1) for labels in draws if labels.any()]
    errors = [item.ece.value for item in items]
    assert items[0].by_chance == pytest.approx(np.mean(errors), rel=0.08)


def test_the_interval_knows_of_the_groups() -> None:
    """Ten films of a group are the same film: a much wider interval than of as many films of their own."""
    rng = np.random.default_rng(0)
    group = rng.random(60)
    probabilities, labels = np.repeat(group, 10), np.repeat((rng.random(60) < group).astype(np.int64), 10)
    by_group = found(labels, probabilities, np.repeat(np.arange(60), 10), bins=3).ece
    by_film = found(labels, probabilities, bins=3).ece
    assert by_group.value == by_film.value
    assert (by_group.high - by_group.low) > 1.8 * (by_film.high - by_film.low)


def test_the_interval_is_that_of_groups_drawn() -> None:
    """Each sample's error by hand: in each of three bins of four films, the weighted mean less the weighted share."""
    rng = np.random.default_rng(2)
    probabilities, groups = np.sort(rng.random(12)), np.arange(12) % 6
    labels = (rng.random(12) < probabilities).astype(np.int64)
    errors = []
    for weights in group_weights(groups, labels, 150, 4):
        parts = (weights * (probabilities - labels)).reshape(3, 4).sum(axis=1)
        errors.append(np.abs(parts).sum() / weights.sum())
    result = reliability(labels, probabilities, groups, 0.9, 150, 4, 3)
    assert [part.films for part in result.bins] == [4, 4, 4]
    value = np.abs((probabilities - labels).reshape(3, 4).sum(axis=1)).sum() / 12
    low, high = np.percentile(errors, [5, 95])
    expected = value, min(low, value), max(high, value)
    assert (result.ece.value, result.ece.low, result.ece.high) == pytest.approx(expected)


def test_calibration_lowers_the_error_on_films_it_was_not_fitted_on() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(-1, 1.5, 2000)
    labels, scores = (rng.random(2000) < 1 / (1 + np.exp(-logits))).astype(np.int64), 1 / (1 + np.exp(-3 * logits))
    before = found(labels, scores)
    after = found(labels, cross_fitted(scores, labels, np.arange(2000) % 5, "temperature"))
    assert before.ece.low > 4 * before.by_chance
    assert after.ece.value < 2 * after.by_chance


def test_the_picture_is_the_same_each_time_and_shows_both(tmp_path: Path) -> None:
    labels, probabilities = np.array([0, 1, 0, 1, 0, 1]), np.array([0.1, 0.3, 0.2, 0.9, 0.6, 0.7])
    before, after = found(labels, probabilities), found(labels, np.full(6, 0.5))
    for name in ("one.png", "two.png"):
        draw_reliability(tmp_path / name, before, after, "fractured")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    draw_reliability(tmp_path / "turned.png", after, before, "fractured")
    pictures = [
        np.asarray(Image.open(tmp_path / name).convert("RGB")).astype(int) for name in ("one.png", "turned.png")
    ]
    height, width, _ = pictures[0].shape
    assert width > height
    blue = [(np.abs(picture - [43, 108, 176]).sum(axis=2) < 30)[:, width // 2 :].sum() for picture in pictures]
    # Six films that say six things, against one bin.
    assert blue[1] > 3 * blue[0] > 0
