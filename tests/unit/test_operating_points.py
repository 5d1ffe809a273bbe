"""Operating points by hand, against scipy's exact binomial, and their guarantee where the truth is known."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from osteon.statistics.bootstrap import group_weights
from osteon.statistics.calibration import fit_calibration
from osteon.statistics.estimate import Floats, Labels
from osteon.statistics.operating_points import OperatingPoint, OperatingPoints, answers
from osteon.statistics.point_search import find_operating_points, measure_operating_points, youden_threshold
from osteon.statistics.proportions import mean_share

SETTINGS = settings(deadline=None, max_examples=60)


def alone(labels: Labels) -> Labels:
    return np.arange(len(labels))


def mixed(positive: int, negative: int, seed: int = 0) -> tuple[Labels, Floats]:
    """Classes that overlap by far, so that the points do not cross."""
    labels = np.repeat([1, 0], [positive, negative])
    return labels, stats.norm.cdf(np.random.default_rng(seed).normal(labels, 1))


@st.composite
def scored(draw: st.DrawFn) -> tuple[Labels, Floats, Labels]:
    """Films of both classes in groups, ties common."""
    count = draw(st.integers(2, 60))
    labels = [0, 1, *draw(st.lists(st.integers(0, 1), min_size=count - 2, max_size=count - 2))]
    scores = draw(st.lists(st.integers(0, 30), min_size=count, max_size=count))
    groups = draw(st.one_of(st.just(range(count)), st.lists(st.integers(0, 9), min_size=count, max_size=count)))
    return np.array(labels), np.array(scores) / 30, np.array(groups)


shares = st.sampled_from([0.6, 0.8, 0.9, 0.95])


# ---------------------------------------------------------------- by hand


@pytest.mark.parametrize(
    ("positive", "missed"),
    # Target 0.9 at 0.9. Of 22 films none may be missed: 0.9²² = 0.098. Of 38 one: 0.9³⁸ + 38·0.1·0.9³⁷ = 0.095;
    # of 37 it would be 0.104.
    [(22, 0), (37, 0), (38, 1)],
)
def test_rule_out_by_hand(positive: int, missed: int) -> None:
    labels, scores = mixed(positive, 200)
    point = find_operating_points(labels, scores, alone(labels), 0.9, 0.9, 0.9).rule_out
    assert point.guaranteed
    assert point.threshold == np.sort(scores[labels == 1])[missed]
    assert point.kept == pytest.approx(1 - missed / positive)
    assert (point.groups, point.needed) == (positive, 22)


def test_59_positive_films_are_the_fewest_for_95_percent_at_95_percent() -> None:
    labels, scores = mixed(59, 300)
    point = find_operating_points(labels, scores, alone(labels), 0.95, 0.9, 0.95).rule_out
    assert (point.guaranteed, point.needed, point.groups) == (True, 59, 59)
    assert point.threshold == scores[labels == 1].min()

    labels, scores = mixed(58, 300)
    point = find_operating_points(labels, scores, alone(labels), 0.95, 0.9, 0.95).rule_out
    assert (point.guaranteed, point.needed, point.groups) == (False, 59, 58)
    # 2 of 58 missed are 3.4 %, 3 are 5.2 %.
    assert point.threshold == np.sort(scores[labels == 1])[2]
    assert point.kept == pytest.approx(56 / 58)


def test_rule_in_by_hand() -> None:
    """38 negative films: one false alarm is allowed. The point is the next film's score above the second alarm's."""
    labels, scores = mixed(300, 38)
    point = find_operating_points(labels, scores, alone(labels), 0.9, 0.9, 0.9).rule_in
    second = np.sort(scores[labels == 0])[-2]
    assert point.threshold == scores[scores > second].min()
    assert point.kept == pytest.approx(37 / 38)


def test_where_the_highest_film_is_a_negative_one_that_may_not_alarm_nothing_is_ruled_in() -> None:
    labels, scores = (
        np.repeat([1, 0], [60, 30]),
        np.concatenate([np.linspace(0.1, 0.8, 60), np.linspace(0.05, 0.9, 30)]),
    )
    points = find_operating_points(labels, scores, alone(labels), 0.9, 0.9, 0.9)
    assert points.rule_in.threshold > 0.9
    assert "fractured" not in answers(scores, points, "fractured")


def test_a_group_is_missed_by_the_share_of_its_films() -> None:
    """40 groups of two fractured films, alone films between: half a group lost counts a half."""
    groups = np.concatenate([np.repeat(np.arange(40), 2), np.arange(40, 240)])
    labels = np.repeat([1, 0], [80, 200])
    scores = np.concatenate([np.full(80, 0.9), np.linspace(0, 0.95, 200)])
    scores[[0, 2, 4, 5]] = 0.1, 0.2, 0.3, 0.4  # half of groups 0 and 1, then all of group 2
    point = find_operating_points(labels, scores, groups, 0.9, 0.9, 0.9).rule_out
    # By shares: 1 of 40 lost has e^(−40·kl(0.025, 0.1)) = 0.106, a half has 0.043.
    assert point.threshold == 0.2
    assert point.kept == pytest.approx(1 - 0.5 / 40)
    assert (point.groups, point.guaranteed) == (40, True)
    measured = measure_operating_points(
        labels, scores, groups, pair(0.35, 0.5), confidence=0.95, resamples=100, seed=1
    ).sensitivity
    assert measured.share == mean_share(np.array([0.5, 0.5, 0.5, *[1] * 37]), 0.95, binary=False)
    assert measured.groups == 40


def pair(low: float, high: float) -> OperatingPoints:
    def point(threshold: float) -> OperatingPoint:
        return OperatingPoint(
            threshold=threshold, target=0.9, confidence=0.9, guaranteed=True, kept=0.95, groups=50, needed=22
        )

    return OperatingPoints(rule_out=point(low), rule_in=point(high))


# ---------------------------------------------------------------- against a second computation


@SETTINGS
@given(scored(), shares, shares, shares)
def test_single_films_points_are_those_of_clopper_and_pearson(
    films: tuple[Labels, Floats, Labels], sensitivity: float, specificity: float, confidence: float
) -> None:
    """The largest threshold, and the smallest, whose lower bound reaches the target, by trying all of them."""
    labels, scores, _ = films
    thresholds = [*np.unique(scores), np.nextafter(scores.max(), 2)]

    def good(label: int, target: float, right: Callable[[float], Floats]) -> list[float]:
        count = int((labels == label).sum())
        kept = [int(right(threshold)[labels == label].sum()) for threshold in thresholds]
        exact = [stats.binomtest(each, count, alternative="greater").proportion_ci(confidence) for each in kept]
        sure = [at for at, bound in zip(thresholds, exact, strict=True) if bound.low >= target - 1e-12]
        seen = [at for at, each in zip(thresholds, kept, strict=True) if each / count >= target - 1e-12]
        return sure or seen

    low = max(good(1, sensitivity, lambda threshold: scores >= threshold))
    high = min(good(0, specificity, lambda threshold: scores < threshold))
    points = find_operating_points(labels, scores, alone(labels), sensitivity, specificity, confidence)
    if low <= high:
        assert (points.rule_out.threshold, points.rule_in.threshold) == (low, high)
    else:
        assert high <= points.rule_out.threshold == points.rule_in.threshold <= low


@SETTINGS
@given(scored(), shares, shares, shares)
def test_every_point_says_the_truth_of_itself(
    films: tuple[Labels, Floats, Labels], sensitivity: float, specificity: float, confidence: float
) -> None:
    labels, scores, groups = films
    points = find_operating_points(labels, scores, groups, sensitivity, specificity, confidence)
    low, high = points.rule_out, points.rule_in
    for point, label, target in ((low, 1, sensitivity), (high, 0, specificity)):
        right = ((scores >= point.threshold) == label)[labels == label]
        names = groups[labels == label]
        kept = np.mean([right[names == name].mean() for name in np.unique(names)])
        assert point.kept == pytest.approx(kept, abs=1e-6)
        assert point.kept >= target - 1e-6
        assert point.groups == len(np.unique(names))
        assert point.guaranteed == (target**point.groups <= 1 - confidence + 1e-12)
        assert point.guaranteed == (point.groups >= point.needed)
    assert OperatingPoints.model_validate_json(points.model_dump_json()) == points


@SETTINGS
@given(scored(), shares, shares)
def test_labels_and_scores_turned_around_turn_the_points_around(
    films: tuple[Labels, Floats, Labels], one: float, other: float
) -> None:
    labels, scores, groups = films
    points = find_operating_points(labels, scores, groups, one, other, 0.8)
    turned = find_operating_points(1 - labels, 1 - scores, groups, other, one, 0.8)
    if points.rule_out.threshold < points.rule_in.threshold:
        assert turned.rule_in.kept == pytest.approx(points.rule_out.kept, abs=1e-6)
        assert turned.rule_out.kept == pytest.approx(points.rule_in.kept, abs=1e-6)


@SETTINGS
@given(scored(), st.sampled_from([0.6, 0.8]), st.sampled_from([0.6, 0.8]))
def test_more_confidence_and_a_higher_target_never_make_fewer_uncertain(
    films: tuple[Labels, Floats, Labels], target: float, confidence: float
) -> None:
    labels, scores, groups = films
    loose = find_operating_points(labels, scores, groups, target, target, confidence)
    strict = find_operating_points(labels, scores, groups, target + 0.1, target + 0.1, confidence)
    surer = find_operating_points(labels, scores, groups, target, target, confidence + 0.1)
    uncertain = [(answers(scores, points, "f") == "uncertain").sum() for points in (loose, strict, surer)]
    if (
        strict.rule_out.guaranteed == loose.rule_out.guaranteed
        and strict.rule_in.guaranteed == loose.rule_in.guaranteed
    ):
        assert uncertain[1] >= uncertain[0]
    if surer.rule_out.guaranteed == loose.rule_out.guaranteed and surer.rule_in.guaranteed == loose.rule_in.guaranteed:
        assert uncertain[2] >= uncertain[0]


# ---------------------------------------------------------------- the guarantee, where the truth is known


def true_shares(points: OperatingPoints, undo: Callable[[float], float]) -> tuple[float, float]:
    """Scores are N(1.5, 1) of fractured films and N(0, 1) of others; undo: from a threshold to that scale."""
    low, high = (undo(point.threshold) for point in (points.rule_out, points.rule_in))
    return float(stats.norm.sf(low, 1.5)), float(stats.norm.cdf(high))


def test_single_films_targets_are_kept_as_often_as_said_and_not_much_more_often() -> None:
    """500 sets of 120 + 150 films, 0.9 at 0.9: the share that keeps it is 0.9 or more, less 3 standard errors."""
    rng = np.random.default_rng(0)
    labels = np.repeat([1, 0], [120, 150])
    result = []
    for _ in range(500):
        points = find_operating_points(labels, rng.normal(1.5 * labels, 1), alone(labels), 0.9, 0.9, 0.9)
        result.append(true_shares(points, float))
    for kept in (np.array(result) >= 0.9).mean(axis=0):
        assert 0.86 < kept < 0.97


def test_targets_are_kept_where_films_of_a_group_are_alike() -> None:
    """500 sets of 150 groups of 1 to 6 films; counted film by film, the same promise is broken far too often."""
    rng = np.random.default_rng(0)
    by_group, by_film = [], []
    for _ in range(500):
        groups = np.repeat(np.arange(150), rng.integers(1, 7, 150))
        labels = (groups % 2).astype(np.int64)
        scores = 1.5 * labels + rng.normal(0, np.sqrt(0.8), 150)[groups] + rng.normal(0, np.sqrt(0.2), len(groups))
        by_group.append(true_shares(find_operating_points(labels, scores, groups, 0.9, 0.9, 0.9), float))
        by_film.append(true_shares(find_operating_points(labels, scores, alone(labels), 0.9, 0.9, 0.9), float))
    assert ((np.array(by_group) >= 0.9).mean(axis=0) > 0.9).all()
    assert ((np.array(by_film) >= 0.9).mean(axis=0) < 0.84).all()


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_targets_are_kept_on_probabilities_calibrated_on_the_same_films(method: str) -> None:
    """200 sets of 100 + 100 films; the calibration's map is undone by looking for the scores it sends there."""
    rng = np.random.default_rng(0)
    labels = np.repeat([1, 0], [100, 100])
    line = np.linspace(-5, 7, 4001)
    result = []
    for _ in range(200):
        scores = stats.norm.cdf(rng.normal(1.5 * labels, 1), 0.75, 2)
        calibration = fit_calibration(scores, labels, rng.permutation(200) % 5, method)
        points = find_operating_points(labels, calibration.apply(scores), alone(labels), 0.9, 0.9, 0.9)
        mapped = calibration.apply(stats.norm.cdf(line, 0.75, 2))
        result.append(true_shares(points, lambda at, mapped=mapped: line[min(np.searchsorted(mapped, at), 4000)]))
    assert ((np.array(result) >= 0.9).mean(axis=0) > 0.86).all()


def test_a_rising_map_of_the_scores_changes_no_answer() -> None:
    labels, scores = mixed(80, 120)
    points = find_operating_points(labels, scores, alone(labels), 0.9, 0.9, 0.9)
    mapped = find_operating_points(labels, scores**3 / 2, alone(labels), 0.9, 0.9, 0.9)
    np.testing.assert_array_equal(answers(scores**3 / 2, mapped, "f"), answers(scores, points, "f"))


# ---------------------------------------------------------------- crossing, answers


def test_points_of_a_very_good_model_become_youdens_and_nothing_is_uncertain() -> None:
    """Parted by far but for one film each: both targets hold anywhere between, and Youden's threshold is there."""
    labels = np.repeat([1, 0], [60, 60])
    scores = np.concatenate([np.linspace(0.6, 0.9, 60), np.linspace(0.1, 0.4, 60)])
    points = find_operating_points(labels, scores, alone(labels), 0.9, 0.9, 0.9)
    assert points.rule_out.threshold == points.rule_in.threshold == youden_threshold(labels, scores) == 0.6
    assert (points.rule_out.kept, points.rule_in.kept) == (1, 1)
    assert (answers(scores, points, "fractured") == np.repeat(["fractured", "not fractured"], 60)).all()


def test_where_youdens_threshold_would_break_a_target_the_end_next_to_it_is_taken() -> None:
    """Youden's is 0.9 and misses three of 38, but one only may be missed; 30 of 100 false alarms are allowed."""
    labels = np.repeat([1, 0], [38, 100])
    scores = np.concatenate([[0.3, 0.5, 0.55], np.full(35, 0.9), np.full(70, 0.1), np.full(30, 0.6)])
    points = find_operating_points(labels, scores, alone(labels), 0.9, 0.5, 0.9)
    assert youden_threshold(labels, scores) == 0.9
    assert points.rule_out.threshold == points.rule_in.threshold == 0.5
    assert points.rule_out.kept == pytest.approx(37 / 38)
    assert points.rule_in.kept == pytest.approx(0.7)


def test_answers_by_hand() -> None:
    output = answers(np.array([0.0, 0.19, 0.2, 0.5, 0.79, 0.8, 1.0, np.nan]), pair(0.2, 0.8), "fractured")
    no, yes = "not fractured", "fractured"
    assert output.tolist() == [no, no, "uncertain", "uncertain", "uncertain", yes, yes, "uncertain"]
    assert answers(np.array([[0.1], [0.9]]), pair(0.5, 0.5), "fractured").tolist() == [[no], [yes]]


def test_points_that_cross_are_refused() -> None:
    with pytest.raises(ValidationError, match="above"):
        pair(0.6, 0.5)


# ---------------------------------------------------------------- on test films


def test_measured_by_hand() -> None:
    """Of 4 fractured films 3 are kept at 0.3; of 5 others 4 below 0.6; 3 of 9 films lie between."""
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0])
    scores = np.array([0.1, 0.3, 0.7, 0.9, 0.1, 0.2, 0.4, 0.5, 0.6])
    result = measure_operating_points(labels, scores, alone(labels), pair(0.3, 0.6), 0.95, 200, 1)
    exact = stats.binomtest(3, 4).proportion_ci(0.95, method="exact")
    share = result.sensitivity.share
    assert (share.value, share.low, share.high) == pytest.approx((0.75, exact.low, exact.high), abs=1e-7)
    assert result.specificity.share.value == pytest.approx(0.8)
    assert result.uncertain.value == pytest.approx(3 / 9)
    assert result.uncertain.low < 3 / 9 < result.uncertain.high
    assert (result.sensitivity.met, result.sensitivity.refuted) == (False, False)
    assert (result.sensitivity.target, result.sensitivity.guaranteed, result.sensitivity.groups) == (0.9, True, 4)


def test_a_target_at_the_very_end_of_the_interval_is_not_refuted() -> None:
    labels, scores = np.repeat([1, 0], [20, 5]), np.concatenate([np.repeat([0.9, 0.1], [12, 8]), np.zeros(5)])
    end = mean_share(np.repeat([1.0, 0.0], [12, 8]), 0.95, binary=True).high
    for target, refuted in ((end, False), (np.nextafter(end, 1), True)):
        points = pair(0.5, 0.5)
        at = points.model_copy(update={"rule_out": points.rule_out.model_copy(update={"target": target})})
        result = measure_operating_points(labels, scores, alone(labels), at, 0.95, 100, 1).sensitivity
        assert (result.met, result.refuted) == (False, refuted)


def test_films_of_one_class_cannot_be_measured() -> None:
    for label in (0, 1):
        with pytest.raises(ValueError, match=r"^both classes are needed$"):
            measure_operating_points(np.full(3, label), np.arange(3.0), np.arange(3), pair(0.5, 0.5), 0.95, 100, 1)


def test_the_interval_of_uncertain_answers_is_that_of_groups_drawn() -> None:
    labels, groups = np.arange(30) % 2, np.arange(30) // 3
    scores = np.random.default_rng(1).random(30)
    weights = group_weights(groups, labels, 150, 5)
    between = [np.average((scores >= 0.3) & (scores < 0.6), weights=row) for row in weights]
    result = measure_operating_points(labels, scores, groups, pair(0.3, 0.6), 0.9, 150, 5).uncertain
    assert (result.low, result.high) == pytest.approx(tuple(np.percentile(between, [5, 95])))


def test_the_same_seed_gives_the_same_interval_of_uncertain_answers() -> None:
    labels = np.arange(40) % 2
    scores = np.random.default_rng(0).random(40)
    first, second, other = (
        measure_operating_points(labels, scores, alone(labels), pair(0.3, 0.6), 0.95, 200, seed).uncertain
        for seed in (1, 1, 2)
    )
    assert first == second != other


def test_met_open_and_refuted() -> None:
    labels = np.repeat([1, 0], [100, 10])
    for kept, met, refuted in ((90, True, False), (88, False, False), (70, False, True)):
        scores = np.concatenate([np.repeat([0.9, 0.1], [kept, 100 - kept]), np.zeros(10)])
        result = measure_operating_points(labels, scores, alone(labels), pair(0.5, 0.5), 0.95, 100, 1)
        assert (result.sensitivity.met, result.sensitivity.refuted) == (met, refuted)
        assert result.specificity.met
        assert result.uncertain.value == 0


# ---------------------------------------------------------------- errors, Youden


@pytest.mark.parametrize("targets", [(1.0, 0.9, 0.9), (0.9, 0.0, 0.9), (0.9, 0.9, 1.0)])
def test_certainty_cannot_be_asked_for(targets: tuple[float, float, float]) -> None:
    labels, scores = mixed(30, 30)
    with pytest.raises(ValueError, match=r"^targets and confidence must lie inside \(0, 1\)$"):
        find_operating_points(labels, scores, alone(labels), *targets)


def test_both_classes_are_needed() -> None:
    with pytest.raises(ValueError, match=r"^both classes are needed$"):
        find_operating_points(np.ones(3, np.int64), np.arange(3.0), np.arange(3), 0.9, 0.9, 0.9)


def test_youden_by_hand() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1], np.float32)
    scores = np.array([0.1, 0.2, 0.6, 0.5, 0.8, 0.9])
    # At ≥ 0.5: sensitivity 3/3, specificity 2/3, J = 0.667; at ≥ 0.8: 2/3 and 3/3, the same J, but later.
    assert youden_threshold(labels, scores) in (0.5, 0.8)
    assert youden_threshold(labels, np.array([0.1, 0.2, 0.3, 0.5, 0.8, 0.9])) == 0.5
    # A network that says the same of every film still has a threshold that a package can hold.
    assert youden_threshold(labels, np.full(6, 0.3)) == pytest.approx(0.3)
    # Of thresholds that are all as good it is the highest, though they lie on one line of the ROC curve.
    assert youden_threshold(np.array([1, 0, 1, 0]), np.array([0.9, 0.9, 0.5, 0.5])) == 0.9
    # Scores that are worse than chance have a threshold too, one that a package can store.
    assert youden_threshold(labels, np.array([0.9, 0.8, 0.5, 0.3, 0.2, 0.1])) == 0.1
