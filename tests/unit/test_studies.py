"""From films to studies."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.evaluation.studies import HOW, fuse, fuse_studies
from osteon.params import EvaluationParams

PROBABILITIES = st.lists(st.floats(0, 1), min_size=1, max_size=6).map(np.array)


def films(*rows: tuple[str | None, str, int, float]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["study_id", "group", "label", "score"])
    return frame.astype({"study_id": "string", "group": "string", "label": "Int8"})


def test_fusion_by_hand() -> None:
    views = np.array([0.2, 0.5, 0.9])
    assert fuse(views, "max") == 0.9
    assert fuse(views, "mean") == pytest.approx(1.6 / 3)
    assert fuse(views, "noisy_or") == pytest.approx(1 - 0.8 * 0.5 * 0.1)


@settings(deadline=None)
@given(PROBABILITIES)
def test_the_three_are_in_their_order_and_probabilities(views: np.ndarray) -> None:
    mean, highest, noisy = (fuse(views, name) for name in ("mean", "max", "noisy_or"))
    assert 0 <= mean <= highest + 1e-12
    assert highest <= noisy + 1e-12 <= 1 + 2e-12


@settings(deadline=None)
@given(st.floats(0, 1), st.sampled_from(sorted(HOW)))
def test_a_study_of_one_film_is_that_film(score: float, fusion: str) -> None:
    assert fuse(np.array([score]), fusion) == pytest.approx(score)


def test_every_way_that_the_parameters_know_is_explained() -> None:
    assert set(HOW) == set(EvaluationParams.model_fields["fusion"].annotation.__args__)  # type: ignore[union-attr]


def test_studies_by_hand() -> None:
    result = fuse_studies(
        films(
            ("s1", "g1", 0, 0.3),
            (None, "g2", 1, 0.6),
            ("s2", "g1", 0, 0.2),
            ("s1", "g1", 1, 0.1),
            (None, "g2", 0, 0.4),
        ),
        "max",
    )
    # In the order of their first films; a film without a study is one of its own, however many there are.
    assert result.to_dict("list") == {
        "label": [1, 1, 0, 0],
        "score": [0.3, 0.6, 0.2, 0.4],
        "group": ["g1", "g2", "g1", "g2"],
        "films": [2, 1, 1, 1],
    }


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.integers(0, 1), st.floats(0, 1)), min_size=1))
def test_every_film_is_in_one_study(rows: list[tuple[str | None, int, float]]) -> None:
    frame = films(*((study, f"of {study}", label, score) for study, label, score in rows))
    result = fuse_studies(frame, "mean")
    assert result["films"].sum() == len(rows)
    assert len(result) == frame["study_id"].nunique() + frame["study_id"].isna().sum()
    assert (result["films"] * result["score"]).sum() == pytest.approx(frame["score"].sum())
    assert result["label"].sum() <= frame["label"].sum()
