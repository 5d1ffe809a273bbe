"""What a search leaves: best.yaml, trials.csv, search.json and plots."""

import json
import logging
from pathlib import Path

from components.search.report import ModelStudy, StudyInfo, draw_plots, summarise, trials_table
from components.search.space import as_best
from components.search.step import PLOTS, SEARCH, TRIALS
from components.search.study import best_trial, finished
from osteon.models.best_hyperparameters import write_best_hyperparameters

log = logging.getLogger(__name__)


def write_results(folder: Path, studies: list[ModelStudy], precision: dict[str, str], seed: int) -> list[StudyInfo]:
    """Write the files into a folder that exists, and log the best trial of each model.

    Args:
        folder: has no plots yet.
        studies: with all their trials.
        precision: hyperparameter → value that goes into best.yaml beside the best trials' values; may be empty.
        seed: of the forest that estimates importance.

    """
    (folder / PLOTS).mkdir()
    values, infos = dict(precision), []
    for model_study in studies:
        best = best_trial(finished(model_study.study))
        values |= best.params if best else {}
        not_drawn = draw_plots(model_study, folder / PLOTS, seed)
        info = summarise(model_study).model_copy(update={"not_drawn": not_drawn})
        infos.append(info)
        log.info("%s", info.line())
        for name, reason in not_drawn.items():
            log.info("%s: no picture of %s: %s", model_study.model, name, reason)
    write_best_hyperparameters(folder, as_best(values))
    trials_table(studies).to_csv(folder / TRIALS, index=False, float_format="%.6g", lineterminator="\n")
    content = json.dumps([info.model_dump() for info in infos], indent=2)
    (folder / SEARCH).write_text(content + "\n", encoding="utf-8")
    return infos
