"""Intervals against printed tables, a second computation written out the long way, and simulation."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from osteon.statistics.auroc import Difference, auroc_in_strata, auroc_over_folds, compare_aurocs, delong
from osteon.statistics.bootstrap import bootstrap, group_weights
from osteon.statistics.estimate import UNDEFINED, Estimate, Floats, Labels, difference, shown
from osteon.statistics.proportions import hoeffding_bentkus_p_value, mean_share, wilson, wilson_in_groups

# Examples are cheap, but the first of a worker waits for imports.
SETTINGS = settings(deadline=None, max_examples=60)

# ---------------------------------------------------------------- Wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17, 857–872, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_as_printed(successes: int, trials: int, low: float, high: float) -> None:
    result = wilson(successes, trials, 0.95)
    assert (result.low, result.high) == pytest.approx((low, high), abs=5e-5)
    assert result.value == successes / trials


@SETTINGS
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
def test_wilson_is_the_closed_formula(counts: tuple[int, int], confidence: float) -> None:
    """(p + z²/2n ± z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n)."""
    successes, n = counts
    p, z = successes / n, stats.norm.ppf((1 + confidence) / 2)
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    result = wilson(successes, n, confidence)
    assert (result.low, result.high) == pytest.approx((middle - half, middle + half), abs=1e-9)


def test_a_proportion_of_nothing_is_not_defined() -> None:
    assert wilson(0, 0, 0.95) == UNDEFINED


@SETTINGS
@given(st.lists(st.booleans(), min_size=2, max_size=200), st.floats(0.5, 0.999))
def test_with_a_film_a_group_it_is_wilsons(hits: list[bool], confidence: float) -> None:
    result = wilson_in_groups(np.array(hits), np.arange(len(hits)), confidence)
    expected = wilson(sum(hits), len(hits), confidence)
    assert (result.value, result.low, result.high) == pytest.approx(
        (expected.value, expected.low, expected.high), abs=1e-9
    )


@SETTINGS
@given(st.lists(st.booleans(), min_size=2, max_size=50), st.integers(2, 6))
def test_copies_in_their_films_group_hardly_add_to_what_a_proportion_is_worth(hits: list[bool], copies: int) -> None:
    groups = np.repeat(np.arange(len(hits)), copies)
    result = wilson_in_groups(np.repeat(hits, copies), groups, 0.95)
    once = wilson(sum(hits), len(hits), 0.95)
    assert result.value == pytest.approx(once.value)
    assert result.high - result.low >= once.high - once.low - 1e-9  # type: ignore[operator]
    assert result.high - result.low <= 1.5 * (once.high - once.low)  # type: ignore[operator]


def test_a_proportion_in_groups_by_hand() -> None:
    """Four groups of two with 2, 2, 1 and 0 hits: share 5/8.

    Residuals by group 0.75, 0.75, −0.25, −1.25, their squares 2.75; variance 2.75 / 64 · 4/3 = 0.0573 against
    5/8 · 3/8 / 7 = 0.0335 of films: the design effect is 1.711, and eight films are worth 4.675.
    """
    result = wilson_in_groups(np.array([1, 1, 1, 1, 1, 0, 0, 0], bool), np.arange(8) // 2, 0.95)
    worth = 8 / ((2.75 / 64 * 4 / 3) / (15 / 64 / 7))
    assert worth == pytest.approx(4.675, abs=1e-3)
    z = stats.norm.ppf(0.975)
    middle = (5 / 8 + z**2 / (2 * worth)) / (1 + z**2 / worth)
    assert result.value == 5 / 8
    assert (result.low + result.high) / 2 == pytest.approx(middle)  # type: ignore[operator]


def test_where_every_film_is_a_hit_a_group_counts_as_a_film() -> None:
    result = wilson_in_groups(np.ones(12, bool), np.arange(12) // 3, 0.95)
    assert (result.value, result.low, result.high) == pytest.approx((1.0, wilson(4, 4, 0.95).low, 1.0))
    assert wilson_in_groups(np.zeros(0, bool), np.zeros(0, np.int64), 0.95) == UNDEFINED


@pytest.mark.parametrize(("groups", "worth"), [([0, 0, 1, 1], 4 / 3), ([0, 0, 0, 0], 1)])
def test_two_groups_have_a_design_effect_and_one_group_counts_as_one_film(groups: list[int], worth: float) -> None:
    """Groups of two alike films: variance 1/4 by groups, 1/12 by films. The ends solve Wilson's equation for 4/3."""
    result = wilson_in_groups(np.array([1, 1, 0, 0], bool), np.array(groups), 0.95)
    z = stats.norm.ppf(0.975)
    for end in (result.low, result.high):
        assert abs(0.5 - end) == pytest.approx(z * np.sqrt(end * (1 - end) / worth))


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17, 873–890, table II, method 10.
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((10, 10), (0, 10), 0.6075, 1.0000),
    ],
)
def test_a_difference_of_proportions_as_printed(
    one: tuple[int, int], other: tuple[int, int], low: float, high: float
) -> None:
    result = difference(wilson(*one, 0.95), wilson(*other, 0.95))
    assert result.value == pytest.approx(one[0] / one[1] - other[0] / other[1])
    assert (result.low, result.high) == pytest.approx((low, high), abs=5e-5)


def test_a_difference_from_nothing_is_not_defined() -> None:
    assert difference(UNDEFINED, wilson(1, 2, 0.95)) == difference(wilson(1, 2, 0.95), UNDEFINED) == UNDEFINED


@pytest.mark.parametrize("part", ["value", "low", "high"])
def test_a_difference_from_a_figure_of_which_a_part_is_not_defined_is_not_defined_either(part: str) -> None:
    whole = wilson(1, 2, 0.95)
    lacking = dataclasses.replace(whole, **{part: None})
    assert difference(lacking, whole) == difference(whole, lacking) == UNDEFINED


# ---------------------------------------------------------------- DeLong


def naive_delong(labels: Labels, scores: Floats, confidence: float) -> Estimate:
    """DeLong 1988 as the paper writes it: psi over every pair of films, its means by row and by column."""
    positive, negative = scores[labels == 1], scores[labels == 0]
    psi = np.array([[1.0 if x > y else 0.5 if x == y else 0.0 for y in negative] for x in positive])
    auroc = psi.mean()
    variance = np.var(psi.mean(axis=1), ddof=1) / len(positive) + np.var(psi.mean(axis=0), ddof=1) / len(negative)
    half = stats.norm.ppf((1 + confidence) / 2) * np.sqrt(variance)
    return Estimate(auroc, max(0, auroc - half), min(1, auroc + half))


def numbers(result: Estimate) -> tuple[float, float, float]:
    assert result.value is not None
    assert result.low is not None
    assert result.high is not None
    return result.value, result.low, result.high


@st.composite
def scored(draw: st.DrawFn, least: int = 2) -> tuple[Labels, Floats]:
    """Films of both classes, in any order; few different scores, so that ties are common."""
    classes = st.lists(st.integers(0, 12), min_size=least, max_size=15)
    positive, negative = draw(classes), draw(classes)
    labels = np.repeat([1, 0], [len(positive), len(negative)]).astype(np.int64)
    order = np.array(draw(st.permutations(range(len(labels)))))
    return labels[order], np.array(positive + negative, np.float64)[order] / 13


@SETTINGS
@given(scored(), st.sampled_from([0.8, 0.95, 0.99]))
def test_delong_is_that_of_all_pairs(films: tuple[Labels, Floats], confidence: float) -> None:
    labels, scores = films
    expected = naive_delong(labels, scores, confidence)
    assume(expected.value not in (0.0, 1.0))
    assert numbers(delong(labels, scores, confidence)) == pytest.approx(numbers(expected), abs=1e-12)


def test_delong_by_hand() -> None:
    """Positive 0.8, 0.4; negative 0.6, 0.4, 0.2: psi is 1 1 1 / 0 ½ 1, so 4.5/6; parts ½ and 1, ½ ¾ 1."""
    labels, scores = np.array([1, 1, 0, 0, 0]), np.array([0.8, 0.4, 0.6, 0.4, 0.2])
    half = 1.959963985 * np.sqrt(0.125 / 2 + 0.0625 / 3)
    assert numbers(delong(labels, scores, 0.95)) == pytest.approx((0.75, 0.75 - half, 1.0))


@SETTINGS
@given(scored(least=1))
def test_the_point_estimate_is_scikit_learns(films: tuple[Labels, Floats]) -> None:
    assert delong(*films, 0.95).value == pytest.approx(roc_auc_score(*films))


@SETTINGS
@given(scored(least=1))
def test_the_order_of_scores_is_all_that_counts(films: tuple[Labels, Floats]) -> None:
    labels, scores = films
    expected = delong(labels, scores, 0.95)
    for changed in (np.exp(5 * scores), 3 * scores - 7, np.cbrt(scores)):
        assert delong(labels, changed, 0.95) == expected


@SETTINGS
@given(scored(least=1))
def test_swapped_labels_and_turned_scores_mirror_it(films: tuple[Labels, Floats]) -> None:
    labels, scores = films
    value, low, high = numbers(delong(labels, scores, 0.9))
    for other in (delong(1 - labels, scores, 0.9), delong(labels, -scores, 0.9)):
        assert numbers(other) == pytest.approx((1 - value, 1 - high, 1 - low), abs=1e-9)


@SETTINGS
@given(scored(least=1), st.floats(0.55, 0.99))
def test_delongs_interval_contains_the_value_and_grows_with_confidence(
    films: tuple[Labels, Floats], confidence: float
) -> None:
    value, low, high = numbers(delong(*films, confidence))
    assert 0 <= low <= value <= high <= 1
    _, lower, higher = numbers(delong(*films, 0.995))
    assert lower <= low
    assert high <= higher


def test_classes_that_are_parted_completely_are_not_taken_for_certain() -> None:
    """8 of 8 successes at 95 %: Clopper and Pearson's lower bound is 0.025^(1/8) = 0.6306."""
    labels = np.repeat([1, 0], [8, 30])
    scores = labels + np.linspace(0, 0.5, 38)
    assert numbers(delong(labels, scores, 0.95)) == pytest.approx((1.0, 0.025 ** (1 / 8), 1.0))
    exact = stats.binomtest(8, 8).proportion_ci(0.95, method="exact")
    assert delong(labels, scores, 0.95).low == pytest.approx(exact.low)
    assert numbers(delong(labels, -scores, 0.95)) == pytest.approx((0.0, 0.0, 1 - exact.low))


def test_one_film_of_a_class_says_little() -> None:
    """Nothing tells how much another film of that class would differ: the most that a mean of 0.8 allows."""
    labels, scores = np.repeat([1, 0], [1, 10]), np.array([8.0, *range(9), 9.0])
    assert delong(labels, scores, 0.95).value == pytest.approx(0.85)
    of_negative = 1 - np.array([*[0] * 8, 0.5, 1])
    half = 1.959963985 * np.sqrt(0.85 * 0.15 + of_negative.var(ddof=1) / 10)
    assert numbers(delong(labels, scores, 0.95)) == pytest.approx((0.85, 0.85 - half, 1.0))
    assert numbers(delong(np.array([1, 0]), np.array([0.3, 0.3]), 0.95)) == (0.5, 0.0, 1.0)


@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 0], []])
def test_auroc_of_one_class_is_not_defined(labels: list[int]) -> None:
    assert delong(np.array(labels, np.int64), np.linspace(0, 1, len(labels)), 0.95) == UNDEFINED


def test_delong_covers_the_truth() -> None:
    """Scores N(1, 1) and N(0, 1): AUROC is Φ(1/√2). 400 tests of 40 + 60 films; 95 % ± 3 standard errors."""
    rng = np.random.default_rng(0)
    labels, truth = np.repeat([1, 0], [40, 60]), stats.norm.cdf(np.sqrt(0.5))
    result = [numbers(delong(labels, rng.normal(labels, 1), 0.95)) for _ in range(400)]
    covered = np.mean([low <= truth <= high for _, low, high in result])
    assert 0.91 < covered < 0.985


# ---------------------------------------------------------------- AUROC of films in groups and strata


def alone(labels: Labels) -> Labels:
    return np.arange(len(labels))


def one_stratum(labels: Labels) -> Labels:
    return np.zeros(len(labels), np.int64)


@SETTINGS
@given(scored(least=1), st.sampled_from([0.8, 0.95]))
def test_in_one_stratum_with_a_film_a_group_it_is_delongs(films: tuple[Labels, Floats], confidence: float) -> None:
    labels, scores = films
    result = auroc_in_strata(labels, scores, alone(labels), one_stratum(labels), confidence)
    assert numbers(result) == pytest.approx(numbers(delong(labels, scores, confidence)), abs=1e-12)


@SETTINGS
@given(scored(), st.integers(2, 5))
def test_copies_in_their_films_group_change_nothing(films: tuple[Labels, Floats], copies: int) -> None:
    labels, scores = films
    once = auroc_in_strata(labels, scores, alone(labels), one_stratum(labels), 0.95)
    many = np.repeat(labels, copies)
    result = auroc_in_strata(many, np.repeat(scores, copies), alone(labels).repeat(copies), one_stratum(many), 0.95)
    assert numbers(result) == pytest.approx(numbers(once), abs=1e-12)


@SETTINGS
@given(scored(), st.data())
def test_it_is_the_share_of_the_pairs_of_one_stratum(films: tuple[Labels, Floats], data: st.DataObject) -> None:
    labels, scores = films
    strata = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(labels), max_size=len(labels))))
    pairs = [
        1.0 if scores[a] > scores[b] else 0.5 if scores[a] == scores[b] else 0.0
        for a in np.flatnonzero(labels == 1)
        for b in np.flatnonzero(labels == 0)
        if strata[a] == strata[b]
    ]
    result = auroc_in_strata(labels, scores, alone(labels), strata, 0.95)
    if not pairs:
        assert result == UNDEFINED
        return
    value, low, high = numbers(result)
    assert value == pytest.approx(np.mean(pairs))
    assert 0 <= low <= value <= high <= 1
    # What separates the strata themselves does not count.
    shifted = auroc_in_strata(labels, scores + 100 * strata, alone(labels), strata, 0.95)
    assert numbers(shifted) == pytest.approx((value, low, high))


def test_the_variance_is_obuchowskis() -> None:
    """Obuchowski 1997 as the paper writes it, on groups with films of both classes and of one."""
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(30), rng.integers(1, 5, 30))
    labels = rng.integers(0, 2, len(groups))
    scores = rng.normal(labels, 1) + rng.normal(0, 1, 30)[groups]
    positive, negative = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    psi = (scores[positive][:, None] > scores[negative]).astype(float)
    m, n, auroc = len(positive), len(negative), psi.mean()
    v10, v01 = np.zeros(30), np.zeros(30)
    np.add.at(v10, groups[positive], psi.mean(axis=1) - auroc)
    np.add.at(v01, groups[negative], psi.mean(axis=0) - auroc)
    i10, i01, i = len(set(groups[positive])), len(set(groups[negative])), 30
    s10 = i10 / ((i10 - 1) * m) * (v10**2).sum()
    s01 = i01 / ((i01 - 1) * n) * (v01**2).sum()
    s11 = i / (i - 1) * (v10 * v01).sum()
    half = 1.959963985 * np.sqrt(s10 / m + s01 / n + 2 * s11 / (m * n))
    result = numbers(auroc_in_strata(labels, scores, groups, one_stratum(labels), 0.95))
    # The paper's factor of the last term takes all groups, ours those that have a film of each class.
    assert result == pytest.approx((auroc, auroc - half, auroc + half), abs=2e-3)


def test_classes_parted_in_every_stratum_count_groups_not_films() -> None:
    """Eight groups of five positive films each: as sure as eight films."""
    groups = np.arange(80) // 5
    labels = (groups < 8).astype(np.int64)
    result = auroc_in_strata(labels, labels + 0.1 * (groups % 2), groups, groups % 2, 0.95)
    assert numbers(result) == pytest.approx((1.0, 0.025 ** (1 / 8), 1.0))


def test_a_score_that_says_nothing_is_worth_a_half() -> None:
    """Models of two folds that each gave its films one score, the share of what they learned from."""
    labels = np.array([1, 1, 0, 0, 0, 1, 0, 0, 0, 0])
    folds = np.repeat([0, 1], 5)
    result = auroc_in_strata(labels, np.where(folds == 0, 0.2, 0.4), alone(labels), folds, 0.95)
    assert result.value == 0.5


def test_its_interval_covers_the_truth_where_films_of_a_group_are_alike() -> None:
    """400 tests of 60 groups of 4 films in 3 strata; half of the scores' variance is the group's."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 4)
    labels, strata = (groups % 2).astype(np.int64), groups % 3
    covered, naive = [], []
    for _ in range(400):
        scores = labels + rng.normal(0, np.sqrt(0.5), 60)[groups] + rng.normal(0, np.sqrt(0.5), 240)
        truth = stats.norm.cdf(np.sqrt(0.5))
        _, low, high = numbers(auroc_in_strata(labels, scores, groups, strata, 0.95))
        covered.append(low <= truth <= high)
        _, low, high = numbers(auroc_in_strata(labels, scores, alone(labels), strata, 0.95))
        naive.append(low <= truth <= high)
    assert 0.91 < np.mean(covered) < 0.985
    assert np.mean(naive) < 0.85


# ---------------------------------------------------------------- shares


@SETTINGS
@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
def test_shares_of_0_and_1_have_clopper_and_pearsons_interval(counts: tuple[int, int], confidence: float) -> None:
    successes, n = counts
    exact = stats.binomtest(successes, n).proportion_ci(confidence, method="exact")
    result = mean_share(np.repeat([1.0, 0.0], [successes, n - successes]), confidence, binary=True)
    assert numbers(result) == pytest.approx((successes / n, exact.low, exact.high), abs=1e-7)


def test_the_p_of_other_shares_by_hand() -> None:
    """100 shares that add up to 2.5, mean in question 0.05; and to 0.25, where Bentkus' bound is the larger."""
    hoeffding = np.exp(-100 * (0.025 * np.log(0.025 / 0.05) + 0.975 * np.log(0.975 / 0.95)))
    bentkus = np.e * stats.binom.cdf(3, 100, 0.05)
    result = hoeffding_bentkus_p_value(np.array([2.5, 0.0, 7.0]), 100, 0.05, binary=False)
    assert result == pytest.approx([min(hoeffding, bentkus), 0.95**100, 1.0])
    assert bentkus > hoeffding
    (result,) = hoeffding_bentkus_p_value(np.array([40.0]), 100, 0.5, binary=False)
    assert result == pytest.approx(np.e * stats.binom.cdf(40, 100, 0.5))


def test_where_no_share_is_lost_other_shares_are_as_good_as_0_and_1() -> None:
    result = mean_share(np.ones(59), 0.9, binary=False)
    assert numbers(result) == pytest.approx((1.0, 0.05 ** (1 / 59), 1.0))
    assert mean_share(np.zeros(0), 0.9, binary=True) == UNDEFINED


def test_thirds_that_add_up_to_a_whole_are_whole() -> None:
    """Ten times a third three times is 10, not a little more, which would be rounded up to 11."""
    total = np.array([np.full(30, 1 / 3).sum() + 1e-9])
    assert hoeffding_bentkus_p_value(total, 60, 0.4, binary=False) == hoeffding_bentkus_p_value(
        np.array([10.0]), 60, 0.4, binary=False
    )


@pytest.mark.parametrize("shape", [(8.0, 0.5), (0.1, 0.1), (1.0, 1.0)])
def test_the_mean_of_shares_is_covered_at_least_as_often_as_said(shape: tuple[float, float]) -> None:
    rng, truth = np.random.default_rng(0), shape[0] / sum(shape)
    result = [numbers(mean_share(rng.beta(*shape, 40), 0.9, binary=False)) for _ in range(200)]
    assert np.mean([low <= truth <= high for _, low, high in result]) >= 0.9
    assert all(0 <= low <= value <= high <= 1 for value, low, high in result)


# ---------------------------------------------------------------- two scores on the same films


def naive_difference(labels: Labels, scores: Floats, others: Floats) -> tuple[float, float]:
    """DeLong 1988 over every pair of films: the difference and its standard error."""

    def psi(of: Floats) -> Floats:
        positive, negative = of[labels == 1][:, None], of[labels == 0]
        return np.asarray((positive > negative) + 0.5 * (positive == negative))

    pairs = psi(scores) - psi(others)
    variances = [pairs.mean(axis=1 - axis).var(ddof=1) / pairs.shape[axis] for axis in (0, 1)]
    return float(pairs.mean()), float(np.sqrt(sum(variances)))


def compared(labels: Labels, scores: Floats, others: Floats, confidence: float = 0.95) -> Difference:
    return compare_aurocs(labels, scores, others, alone(labels), one_stratum(labels), confidence)


def test_the_paired_test_by_hand() -> None:
    """AUROC 3/4 and 5/6. Differences of the parts: 1/3 and −1/2; −1/2, 1/4 and 0. Variance 25/144 + 7/144."""
    labels = np.array([1, 1, 0, 0, 0])
    result = compared(labels, np.array([0.8, 0.4, 0.6, 0.4, 0.2]), np.array([0.7, 0.9, 0.1, 0.8, 0.3]))
    half = 1.959963985 * np.sqrt(2 / 9)
    assert numbers(result.auroc) == pytest.approx((-1 / 12, -1.0, -1 / 12 + half))
    assert result.p == pytest.approx(2 * stats.norm.sf(1 / (4 * np.sqrt(2))))


# The 43 complete patients of DeLong et al. 1988 as the SAS/STAT guide lists them: albumin, total protein, Krebs and
# Goldberg's score (the lower the better the outlook), and whether surgery helped.
PATIENTS = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0  1.6 5.6 5 1  3.8 5.7 5 1
3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1  4.3 7.0 4 1  3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0
4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1  3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1
4.3 6.5 4 1  3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1  3.5 6.2 5 1
2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1  3.6 6.6 5 1
"""


def test_the_paired_test_on_delongs_patients() -> None:
    albumin, protein, score, helped = np.array(PATIENTS.split(), np.float64).reshape(-1, 4).T
    labels = helped.astype(np.int64)
    for test, expected, error, p in ((albumin, 0.0108, 0.0953, 0.9102), (protein, -0.0780, 0.1046, 0.4561)):
        result = compared(labels, test, -score)
        value, low, high = numbers(result.auroc)
        assert (value, (high - low) / (2 * 1.959964)) == pytest.approx((expected, error), abs=5e-5)
        assert result.p == pytest.approx(p, abs=5e-5)


@SETTINGS
@given(scored(), st.data(), st.sampled_from([0.8, 0.95]))
def test_the_paired_test_is_that_of_all_pairs(
    films: tuple[Labels, Floats], data: st.DataObject, confidence: float
) -> None:
    labels, scores = films
    others = np.array(data.draw(st.lists(st.integers(0, 12), min_size=len(labels), max_size=len(labels)))) / 13
    value, error = naive_difference(labels, scores, others)
    assume(error > 1e-9)
    half = stats.norm.ppf((1 + confidence) / 2) * error
    result = compared(labels, scores, others, confidence)
    assert numbers(result.auroc) == pytest.approx((value, max(-1, value - half), min(1, value + half)), abs=1e-9)
    assert result.p == pytest.approx(2 * stats.norm.sf(abs(value) / error), abs=1e-9)
    turned = compared(labels, others, scores, confidence)
    assert turned.p == pytest.approx(result.p)
    assert turned.auroc.value == pytest.approx(-value)


def test_the_paired_test_agrees_with_swapping_the_scores_of_films() -> None:
    """Were both models alike, each film's two scores could be swapped: 4,000 random swaps."""
    rng = np.random.default_rng(3)
    labels = np.repeat([1, 0], [60, 90])
    film = rng.normal(labels, 1)
    scores, others = film + rng.normal(0.1 * labels, 0.6, 150), film + rng.normal(0, 0.6, 150)
    result = compared(labels, scores, others)

    def auroc(of: Floats) -> Floats:
        return np.asarray((stats.rankdata(of, axis=1)[:, :60].sum(axis=1) - 60 * 61 / 2) / (60 * 90))

    swap = rng.random((4000, 150)) < 0.5
    swap[0] = False
    swapped = auroc(np.where(swap, others, scores)) - auroc(np.where(swap, scores, others))
    assert result.auroc.value == pytest.approx(swapped[0])
    assert result.p is not None
    assert 0.01 < result.p < 0.5
    assert result.p == pytest.approx((np.abs(swapped) >= abs(swapped[0])).mean(), abs=0.03)


def test_its_standard_error_is_that_of_a_bootstrap_over_groups() -> None:
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(80), rng.integers(1, 5, 80))
    labels, folds = rng.integers(0, 2, len(groups)), groups % 3
    patient = rng.normal(0, 0.7, 80)[groups]
    scores, others = labels + patient + rng.normal(0, 0.7, (2, len(groups)))
    result = compare_aurocs(labels, scores, others, groups, folds, 0.95)
    _, low, high = numbers(result.auroc)

    drawn = []
    for weights in group_weights(groups, labels, 400, 1):
        rows = np.repeat(np.arange(len(groups)), weights)
        both = [auroc_in_strata(labels[rows], of[rows], rows, folds[rows], 0.95).value for of in (scores, others)]
        drawn.append(both[0] - both[1])
    assert (high - low) / (2 * 1.959964) == pytest.approx(np.std(drawn), rel=0.12)


@SETTINGS
@given(scored(), st.integers(2, 4), st.data())
def test_copies_in_their_films_group_change_nothing_in_the_paired_test(
    films: tuple[Labels, Floats], copies: int, data: st.DataObject
) -> None:
    labels, scores = films
    others = np.array(data.draw(st.permutations(scores.tolist())))
    once = compared(labels, scores, others)
    many = [np.repeat(values, copies) for values in (labels, scores, others, alone(labels), one_stratum(labels))]
    result = compare_aurocs(*many, 0.95)
    assert numbers(result.auroc) == pytest.approx(numbers(once.auroc), abs=1e-9)
    assert result.p == pytest.approx(once.p, abs=1e-9)


def test_films_of_different_strata_are_not_compared() -> None:
    """A model whose folds' scores lie apart loses nothing within folds, and much in one ranking."""
    labels, folds = np.tile([1, 0, 1, 0, 0], 12), np.repeat([0, 1], 30)
    scores = np.random.default_rng(0).normal(labels, 1)
    shifted = scores + 5 * folds
    assert numbers(compare_aurocs(labels, scores, shifted, alone(labels), folds, 0.95).auroc)[0] == 0
    assert numbers(compared(labels, scores, shifted).auroc)[0] > 0.1


def test_models_that_always_differ_are_not_taken_for_certain() -> None:
    """8 positive films, all ranked right by one and wrong by the other: the sign test's p, 2/2⁸."""
    labels = np.repeat([1, 0], [8, 30])
    scores = labels + np.linspace(0, 0.5, 38)
    result, agree = compared(labels, scores, -scores), 0.025 ** (1 / 8)
    assert numbers(result.auroc) == pytest.approx((1.0, 2 * agree - 1, 1.0))
    assert result.p == pytest.approx(2 / 2**8)
    # Right against a coin: 1/2 better everywhere. p is where the interval's end is 0.
    result = compared(labels, scores, np.zeros(38))
    assert numbers(result.auroc) == pytest.approx((0.5, 1.5 * agree - 1, 1 - agree / 2))
    assert result.p == pytest.approx(2 * 1.5**-8)
    assert compared(labels, scores, np.zeros(38), 1 - result.p).auroc.low == pytest.approx(0, abs=1e-12)


def test_a_model_is_no_better_than_itself() -> None:
    labels = np.array([1, 1, 0, 1, 0])
    result = compared(labels, np.array([0.1, 0.4, 0.3, 0.9, 0.2]), np.array([0.1, 0.4, 0.3, 0.9, 0.2]))
    assert (result.auroc.value, result.p) == (0, 1)


def test_one_group_of_a_class_says_little_about_a_difference_either() -> None:
    """AUROC 1 and 1/2 of the only positive film: its part is taken as √(1·0) + √(½·½), whatever they share."""
    labels = np.array([1, 0, 0, 0, 0])
    scores, others = np.array([9.0, 1, 2, 3, 4]), np.array([2.5, 1, 2, 3, 4])
    half = 1.959963985 * np.sqrt(0.25 + np.var([0, 0, 1, 1], ddof=1) / 4)
    assert numbers(compared(labels, scores, others).auroc) == pytest.approx((0.5, 0.5 - half, 1.0))
    assert numbers(compared(1 - labels, -scores, -others).auroc) == pytest.approx((0.5, 0.5 - half, 1.0))


def test_a_difference_of_two_films_in_800_has_an_error_of_its_own() -> None:
    """The worst of each 400 swap their scores: each loses a pair of 400, and its class' variance is 1/400³."""
    labels, scores = np.repeat([1, 0], 400), np.arange(800.0)[::-1]
    others = scores.copy()
    others[[399, 400]] = scores[[400, 399]]
    result = compared(labels, scores, others)
    half = 1.959963985 * np.sqrt(2 * np.var(np.arange(400) == 0, ddof=1) / 400**3)
    assert numbers(result.auroc) == pytest.approx((400**-2, 400**-2 - half, 400**-2 + half))
    assert result.p == pytest.approx(2 * stats.norm.sf(400**-2 * 1.959963985 / half))


def test_without_both_classes_in_a_stratum_there_is_nothing_to_compare() -> None:
    labels, scores = np.array([1, 1, 0, 0]), np.arange(4.0)
    result = compare_aurocs(labels, scores, -scores, alone(labels), labels, 0.95)
    assert result == Difference(UNDEFINED, None)


def test_two_models_that_are_alike_differ_as_rarely_as_said() -> None:
    """400 tests of 60 groups of 4 films in 3 folds, p below 0.05 in 5 % ± 3 standard errors; by films, far more."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 4)
    labels, folds = (groups % 2).astype(np.int64), groups % 3
    by_group, by_film = [], []
    for _ in range(400):
        scores, others = labels + rng.normal(0, 0.8, (2, 60))[:, groups] + rng.normal(0, 0.6, (2, 240))
        by_group.append(compare_aurocs(labels, scores, others, groups, folds, 0.95).p)
        by_film.append(compare_aurocs(labels, scores, others, alone(labels), folds, 0.95).p)
    assert 0.017 < np.mean(np.array(by_group) < 0.05) < 0.083
    assert np.mean(np.array(by_film) < 0.05) > 0.15


# ---------------------------------------------------------------- over folds


def test_aurocs_over_folds_by_hand() -> None:
    """Fold 0 ranks 3 of 4 pairs, fold 1 both; in one ranking fold 1's scores lie too high. Fold 2 has one class."""
    labels = np.array([1, 1, 0, 0, 1, 0, 0, 0])
    scores = np.array([0.2, 0.4, 0.1, 0.3, 0.9, 0.8, 0.7, 0.5])
    folds = np.array([0, 0, 0, 0, 1, 1, 1, 2])
    result = auroc_over_folds(labels, scores, alone(labels), folds, 0.95)
    assert result.folds == {0: 0.75, 1: 1.0}
    assert (result.mean, result.sd) == pytest.approx((0.875, 0.25 / np.sqrt(2)))
    assert result.within.value == pytest.approx(5 / 6)
    # 0.2 outranks one negative film of five, 0.4 two, 0.9 all.
    assert result.pooled == auroc_in_strata(labels, scores, alone(labels), one_stratum(labels), 0.95)
    assert result.pooled.value == pytest.approx(8 / 15)


def test_one_fold_has_no_deviation_and_none_no_figure() -> None:
    labels, folds = np.array([1, 0, 1]), np.array([3, 3, 4])
    result = auroc_over_folds(labels, np.array([0.5, 0.1, 0.2]), alone(labels), folds, 0.95)
    assert (result.folds, result.mean, result.sd) == ({3: 1.0}, 1.0, None)
    result = auroc_over_folds(labels, np.array([0.5, 0.1, 0.2]), alone(labels), np.arange(3), 0.95)
    assert (result.folds, result.mean, result.sd, result.within) == ({}, None, None, UNDEFINED)


# ---------------------------------------------------------------- bootstrap over groups


@st.composite
def grouped(draw: st.DrawFn) -> tuple[Labels, Labels]:
    """Groups 0 … k−1, each with one film or more, and labels of both classes."""
    count = draw(st.integers(2, 8))
    groups = [*range(count), *draw(st.lists(st.integers(0, count - 1), max_size=12))]
    labels = draw(st.lists(st.integers(0, 1), min_size=len(groups), max_size=len(groups)))
    assume(len(set(labels)) == 2)
    return np.array(draw(st.permutations(groups))), np.array(labels)


@SETTINGS
@given(grouped(), st.integers(0, 2**32 - 1))
def test_groups_are_drawn_whole(films: tuple[Labels, Labels], seed: int) -> None:
    groups, labels = films
    weights = group_weights(groups, labels, 40, seed)
    assert weights.shape == (40, len(groups))
    firsts = np.unique(groups, return_index=True)[1]
    # All films of a group as often as its first, …
    np.testing.assert_array_equal(weights, weights[:, firsts][:, groups])
    # … as many groups as there are, and both classes.
    assert (weights[:, firsts].sum(axis=1) == len(firsts)).all()
    assert (weights == weights.round()).all()
    assert (weights >= 0).all()
    for label in (0, 1):
        assert (weights[:, labels == label].sum(axis=1) > 0).all()


def test_every_group_is_drawn_as_often() -> None:
    """Multinomial: mean 1, variance 1 − 1/k, whatever the size of the group."""
    groups = np.repeat(np.arange(5), [1, 2, 9, 1, 4])
    labels = np.zeros(17, np.int64)
    labels[::2] = 1
    weights = group_weights(groups, np.where(groups == 0, 1, labels), 20_000, 1)[:, [0, 1, 3, 12, 13]]
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.03)
    np.testing.assert_allclose(weights.var(axis=0), 0.8, atol=0.04)


def test_a_seed_gives_its_samples_again() -> None:
    groups, labels = np.arange(30) // 2, np.arange(30) % 2
    first = group_weights(groups, labels, 50, 7)
    np.testing.assert_array_equal(group_weights(groups, labels, 50, 7), first)
    assert (group_weights(groups, labels, 50, 8) != first).any()


def test_samples_of_one_class_are_drawn_again() -> None:
    """One positive film in 30 groups: a third of all draws lack it."""
    for labels in (np.arange(30) == 0, np.arange(30) != 0):
        weights = group_weights(np.arange(30), labels.astype(np.int64), 500, 0)
        assert weights.shape == (500, 30)
        assert weights.dtype == np.int32
        assert weights[:, 0].min() == 1


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_has_no_samples(label: int) -> None:
    with pytest.raises(ValueError, match=r"^both classes are needed$"):
        group_weights(np.arange(5), np.full(5, label), 10, 0)


def test_weighing_in_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven films, so few samples together: 3 of 1,000. One in fifteen lacks a class and is drawn again."""
    groups, labels = np.array([0, 0, 1, 2, 2, 2, 3]), np.array([1, 1, 0, 0, 0, 1, 0])
    values = np.random.default_rng(0).normal(size=7)
    weights = group_weights(groups, labels, 1000, 4)
    result = bootstrap(weighted_mean(values), weights, 0.9)
    monkeypatch.setattr("osteon.statistics.bootstrap.BLOCK", 21)
    np.testing.assert_array_equal(group_weights(groups, labels, 1000, 4), weights)
    assert numbers(bootstrap(weighted_mean(values), weights, 0.9)) == pytest.approx(numbers(result), rel=1e-12)


def weighted_mean(values: Floats) -> Callable[[Floats], Floats]:
    return lambda weights: weights @ values / weights.sum(axis=1)


def test_the_bootstraps_percentiles_by_hand() -> None:
    """Five samples whose means are 1, 2, 3, 4, 5: percentile 10 is 1.4, percentile 90 is 4.6."""
    weights = np.eye(5)[[3, 0, 4, 2, 1]]
    result = bootstrap(weighted_mean(np.array([1.0, 2, 3, 4, 5])), weights, 0.8)
    assert numbers(result) == pytest.approx((3.0, 1.4, 4.6))


def test_the_bootstraps_percentiles_are_numpys() -> None:
    rng = np.random.default_rng(0)
    values, weights = rng.normal(size=40), group_weights(np.arange(40) // 3, np.arange(40) % 2, 300, 5)
    means = [np.average(values, weights=row) for row in weights]
    result = bootstrap(weighted_mean(values), weights, 0.9)
    assert numbers(result) == pytest.approx((values.mean(), *np.percentile(means, [5, 95])))


def test_a_biased_bootstrap_does_not_leave_the_value_outside() -> None:
    for value, low, high in ((0.0, 0.0, 2.5), (9.0, 1.5, 9.0)):
        figures = {1: np.array([value]), 3: np.array([1.0, 2.0, 3.0])}
        result = bootstrap(lambda weights, figures=figures: figures[len(weights)], np.ones((3, 2)), 0.5)
        assert numbers(result) == pytest.approx((value, low, high))


def test_samples_without_the_figure_are_left_out_and_none_at_all_is_not_defined() -> None:
    figures = np.array([np.nan, 1.0, 2.0, 3.0])

    def figure(weights: Floats) -> Floats:
        return figures if len(weights) > 1 else np.array([2.0])

    assert numbers(bootstrap(figure, np.ones((4, 3)), 0.5)) == pytest.approx((2.0, 1.5, 2.5))
    assert bootstrap(lambda weights: np.full(len(weights), np.nan), np.ones((4, 3)), 0.95) == UNDEFINED


def test_the_interval_knows_of_the_groups() -> None:
    """Films of a group are alike (5 copies): the interval is that of the groups' means, not of the films'."""
    rng = np.random.default_rng(0)
    truth, covered, widths, theory = 0.3, [], [], []
    groups = np.repeat(np.arange(40), 5)
    for _ in range(200):
        means = rng.normal(truth, 1, 40)
        weights = group_weights(groups, np.tile([0, 1, 0, 1, 1], 40), 300, int(rng.integers(2**32)))
        _, low, high = numbers(bootstrap(weighted_mean(means[groups]), weights, 0.9))
        covered.append(low <= truth <= high)
        widths.append(high - low)
        theory.append(2 * 1.6449 * means.std() / np.sqrt(40))
    assert 0.82 < np.mean(covered) < 0.96
    assert np.mean(widths) == pytest.approx(np.mean(theory), rel=0.03)


def test_an_estimate_as_text() -> None:
    assert shown(UNDEFINED) == "not defined"
    assert shown(Estimate(0.8123, 0.7309, 0.8928)) == "0.812 [0.731, 0.893]"
    assert shown(Estimate(0.8123, 0.7309, 0.8928), 1) == "0.8 [0.7, 0.9]"
