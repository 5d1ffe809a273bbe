"""Figures of types of fracture."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, roc_auc_score

from components.evaluation.fracture_types import measure_types
from osteon.statistics.estimate import UNDEFINED
from osteon.statistics.proportions import wilson

NAMES = ("oblique", "spiral", "transverse")


def test_types_by_hand() -> None:
    known = ["oblique", "oblique", "spiral", None, "spiral", "hairline"]
    scores = np.array(
        [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.4, 0.5, 0.1], [0.9, 0.0, 0.1], [0.2, 0.1, 0.7], [0.9, 0.0, 0.1]]
    )
    oblique, spiral, transverse = measure_types(known, scores, NAMES, 0.95)
    # The film without a type and that of a type the model does not name are left out.
    assert (oblique.name, oblique.films, oblique.answers) == (
        "oblique",
        2,
        {"oblique": 1, "spiral": 1, "transverse": 0},
    )
    assert oblique.named == wilson(1, 2, 0.95)
    assert oblique.auroc.value == 3 / 4  # 0.8 above both, 0.3 above 0.2 only
    assert spiral.answers == {"oblique": 0, "spiral": 1, "transverse": 1}
    assert spiral.auroc.value == pytest.approx(1.5 / 4)  # 0.5 loses to 0.6; 0.1 ties with 0.1
    assert (transverse.films, transverse.named, transverse.auroc) == (0, UNDEFINED, UNDEFINED)


def test_no_film_has_a_type() -> None:
    rows = measure_types([None, None], np.zeros((2, 3)), NAMES, 0.95)
    assert [row.films for row in rows] == [0, 0, 0]
    assert all(row.auroc == UNDEFINED for row in rows)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), *[st.floats(0, 1)] * 3), min_size=3, max_size=30))
def test_figures_are_scikit_learns(films: list[tuple[int, float, float, float]]) -> None:
    films = [(0, 0.1, 0.2, 0.3), (1, 0.3, 0.2, 0.1), (2, 0.2, 0.2, 0.2), *films]
    truth, scores = np.array([item[0] for item in films]), np.array([item[1:] for item in films])
    rows = measure_types([NAMES[number] for number in truth], scores, NAMES, 0.95)
    table = confusion_matrix(truth, scores.argmax(axis=1), labels=[0, 1, 2])
    assert [list(row.answers.values()) for row in rows] == table.tolist()
    for number, row in enumerate(rows):
        assert row.auroc.value == pytest.approx(roc_auc_score(truth == number, scores[:, number]))
