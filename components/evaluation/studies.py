"""From the answers for films to one answer for a study: the views of one limb on one day."""

import numpy as np
import pandas as pd

from osteon.statistics.estimate import Floats

HOW = {
    "max": "the highest of its films' probabilities",
    "mean": "the mean of its films' probabilities",
    "noisy_or": "1 − the product of (1 − probability) over its films",
}


def fuse(probabilities: Floats, fusion: str) -> float:
    """A study's probability from those of its films.

    Args:
        probabilities: of the films of one study, at least one.
        fusion: max, mean or noisy_or (Pearl 1988: the study is negative only if every film is, each on its own).

    """
    if fusion == "noisy_or":
        return float(1 - np.prod(1 - probabilities))
    return float(probabilities.max() if fusion == "max" else probabilities.mean())


def fuse_studies(films: "pd.DataFrame", fusion: str) -> "pd.DataFrame":
    """One row a study, in the order of their first films: label (1 if any film's is), score, group and films.

    A film that names no study is a study of its own. A study's films are of one group, so that groups of studies are
    groups of their films.

    Args:
        films: columns study_id, group, label and score.
        fusion: max, mean or noisy_or.

    """
    # Numbers, not the ids themselves: no name that is made up can be that of another study.
    named = pd.factorize(films["study_id"])[0]
    study = np.where(named >= 0, named, len(films) + np.arange(len(films)))
    grouped = films.groupby(study, sort=False)
    return pd.DataFrame(
        {
            "label": grouped["label"].max().astype(np.int64),
            "score": grouped["score"].agg(lambda scores: fuse(scores.to_numpy(np.float64), fusion)),
            "group": grouped["group"].first(),
            "films": grouped.size(),
        }
    ).reset_index(drop=True)
