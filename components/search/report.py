"""What a search did, as a table, a JSON file and pictures.

optuna.visualization.matplotlib was looked at for each picture, with twenty trials at the report's size, and not taken:
plot_optimization_history leaves out pruned trials and params.yaml's values; plot_intermediate_values names every trial
in a legend longer than the plot, and shows neither the best nor what was pruned; plot_parallel_coordinate leaves out
pruned trials, cuts names off and lays ticks over lines. plot_param_importances shows what ours does, but all four set
matplotlib's style 'ggplot' for the whole process, and to undo that takes as many lines as the bars. The importance
itself is Optuna's.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import optuna
import pandas as pd
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState
from pydantic import BaseModel, ConfigDict

from components.search.study import OWN, best_trial, finished
from osteon.pages.style import BLUE, GREY, ORANGE, STYLE

mpl.use("Agg")
import matplotlib.pyplot as plt

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAST_FOR_PARAMETERS, LEAST_FOR_IMPORTANCE = 2, 4  # complete trials
MARKS = {TrialState.COMPLETE: ("o", BLUE), TrialState.PRUNED: ("x", GREY), TrialState.FAIL: ("+", GREY)}


@dataclass(frozen=True)
class ModelStudy:
    """One model's study.

    model: network, svm, …. unit: of a trial's steps, epochs or folds. steps: of a trial that nothing prunes.
    """

    model: str
    study: optuna.Study
    unit: str
    steps: int


class StudyInfo(BaseModel):
    """One model's search in short.

    trials: complete or pruned. done: epochs or folds that they were trained for, of `asked` without pruning.
    auroc: of the best, mean over the folds; own_auroc: of the values in params.yaml. own_is_best: whether these won.
    not_drawn: picture → why it is not there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    trials: int
    pruned: int
    unit: str
    done: int
    asked: int
    best: int | None
    auroc: float | None
    own_auroc: float | None
    own_is_best: bool
    not_drawn: dict[str, str] = {}

    def line(self) -> str:
        """What won, in words."""
        if self.auroc is None:
            return f"{self.model}: no trial is complete; the values of params.yaml stay"
        own = f"{self.own_auroc:.3f}" if self.own_auroc is not None else "not measured"
        won = f"trial {self.best} is best, AUROC {self.auroc:.3f} (the values of params.yaml: {own})"
        if self.own_is_best:
            won = f"the values of params.yaml are best, AUROC {self.auroc:.3f}"
        return f"{self.model}: {won}; {self.trials} trials, {self.pruned} pruned, {self.saved()}"

    def saved(self) -> str:
        """What pruning saved, in words."""
        return f"{self.asked - self.done:,} of {self.asked:,} {self.unit} saved by pruning"


def summarise(model_study: ModelStudy) -> StudyInfo:
    """Count what a study did."""
    counted = [trial for trial in finished(model_study.study) if trial.state != TrialState.FAIL]
    best, own = best_trial(counted), next((trial for trial in counted if trial.user_attrs.get(OWN)), None)
    return StudyInfo(
        model=model_study.model,
        trials=len(counted),
        pruned=sum(trial.state == TrialState.PRUNED for trial in counted),
        unit=model_study.unit,
        done=sum(trial.last_step or 0 for trial in counted),
        asked=len(counted) * model_study.steps,
        best=best.number if best else None,
        auroc=best.value if best else None,
        own_auroc=own.value if own and own.state == TrialState.COMPLETE else None,
        own_is_best=best is not None and own is not None and best.number == own.number,
    )


def trials_table(studies: list[ModelStudy]) -> pd.DataFrame:
    """One row a trial: model, trial, state, auroc, done and its unit, own_values, then a column a parameter.

    auroc: of a pruned trial, that which it had when it was pruned. It has no times, so the same trials give
    the same file.
    """
    rows = []
    for model_study in studies:
        for trial in finished(model_study.study):
            last = trial.last_step
            rows.append(
                {
                    "model": model_study.model,
                    "trial": trial.number,
                    "state": trial.state.name.lower(),
                    "auroc": trial.intermediate_values[last] if last is not None else None,
                    "done": last or 0,
                    "unit": model_study.unit,
                    "own_values": bool(trial.user_attrs.get(OWN)),
                    **trial.params,
                }
            )
    return pd.DataFrame(rows)


def draw_plots(model_study: ModelStudy, folder: Path, seed: int) -> dict[str, str]:
    """Write MODEL_history.png, _steps, _parameters and _importance; what is not drawn comes back with the reason.

    Args:
        model_study: the study.
        folder: exists.
        seed: of the forest that estimates importance.

    """
    trials = [trial for trial in finished(model_study.study) if trial.intermediate_values]
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    missing = {}
    with plt.rc_context(STYLE):
        for name, draw, reason in (
            ("history", _history, "no trial got anywhere" if not trials else ""),
            ("steps", _steps, f"a trial has one of {model_study.unit} only" if model_study.steps < 2 else ""),
            ("parameters", _parameters, _too_few(complete, LEAST_FOR_PARAMETERS)),
            ("importance", _importance(model_study.study, seed), _no_importance(complete)),
        ):
            if reason:
                missing[name] = reason
                continue
            figure = draw(model_study, trials)
            figure.savefig(folder / f"{model_study.model}_{name}.png", metadata={"Software": None})
            plt.close(figure)
    return missing


def _history(model_study: ModelStudy, trials: list[FrozenTrial]) -> "Figure":
    """AUROC of each trial, and the best until then."""
    figure, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    values = [trial.intermediate_values[trial.last_step or 0] for trial in trials]
    for state, (mark, colour) in MARKS.items():
        chosen = [place for place, trial in enumerate(trials) if trial.state == state]
        if chosen:
            label = {"COMPLETE": "complete", "PRUNED": "pruned: AUROC when it was", "FAIL": "failed"}[state.name]
            axes.plot(chosen, [values[place] for place in chosen], mark, color=colour, markersize=6, label=label)
    complete = [
        value if trial.state == TrialState.COMPLETE else -np.inf for trial, value in zip(trials, values, strict=True)
    ]
    best = np.maximum.accumulate(complete)
    axes.step(
        np.flatnonzero(np.isfinite(best)), best[np.isfinite(best)], where="post", color=ORANGE, label="best so far"
    )
    own = next((place for place, trial in enumerate(trials) if trial.user_attrs.get(OWN)), None)
    if own is not None:
        axes.axhline(values[own], color=GREY, linewidth=1, linestyle=":", label="values of params.yaml")
    axes.set_xticks(range(len(trials)), [str(trial.number) for trial in trials])
    axes.locator_params(axis="x", nbins=min(len(trials), 20))
    axes.set(xlabel="trial", ylabel="AUROC")
    axes.set_title(f"{model_study.model}: {len(trials)} trials", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    return figure


def _steps(model_study: ModelStudy, trials: list[FrozenTrial]) -> "Figure":
    """AUROC of each trial as it went on."""
    figure, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    best = best_trial(trials)
    for trial in sorted(trials, key=lambda trial: trial is best):
        steps = sorted(trial.intermediate_values)
        values = [trial.intermediate_values[step] for step in steps]
        pruned = trial.state == TrialState.PRUNED
        colour = ORANGE if trial is best else GREY if pruned else BLUE
        axes.plot(steps, values, color=colour, linewidth=1.8 if trial is best else 1)
        axes.plot(steps[-1], values[-1], "x" if pruned else "o", color=colour, markersize=5)
    for label, mark, colour in (("best", "o", ORANGE), ("complete", "o", BLUE), ("pruned", "x", GREY)):
        axes.plot([], [], mark, color=colour, label=label)
    axes.set(xlabel=f"{model_study.unit}, all folds", ylabel="AUROC, mean of the folds so far")
    axes.set_title(f"{model_study.model}: {summarise(model_study).saved()}", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def _parameters(model_study: ModelStudy, trials: list[FrozenTrial]) -> "Figure":
    """Parallel coordinates: a line a trial through its values, coloured by AUROC.

    Pruned ones are grey: their AUROC was that of a network half trained.
    """
    names = sorted({name for trial in trials for name in trial.params})
    figure, axes = plt.subplots(figsize=(1.6 + 1.25 * len(names), 3.8), layout="constrained")
    complete = [trial.value for trial in trials if trial.value is not None and trial.state == TrialState.COMPLETE]
    colours = mpl.cm.ScalarMappable(mpl.colors.Normalize(min(complete), max(complete)), cmap="viridis")
    distributions = {name: distribution for trial in trials for name, distribution in trial.distributions.items()}
    for trial in sorted(trials, key=lambda trial: (trial.state == TrialState.COMPLETE, trial.value or 0)):
        heights = [_height(trial.params[name], distributions[name]) for name in names if name in trial.params]
        pruned = trial.state != TrialState.COMPLETE
        axes.plot(
            range(len(heights)),
            heights,
            color=GREY if pruned else colours.to_rgba(np.array([trial.value]))[0],
            linewidth=1 if pruned else 1.8,
            linestyle=":" if pruned else "-",
            marker="o",
            markersize=3,
        )
    for place, name in enumerate(names):
        axes.axvline(place, color=GREY, linewidth=0.8, zorder=0)
        for height, text in _ticks(distributions[name]):
            axes.text(place + 0.04, height, text, fontsize=7, color="#4a5568", va="center")
    axes.set_xticks(range(len(names)), [name.replace(".", "\n", 1) for name in names], fontsize=8)
    axes.set_yticks([])
    axes.set(xlim=(-0.2, len(names) - 0.5), ylim=(-0.06, 1.06))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_title(f"{model_study.model}: what was tried (grey: pruned)", fontsize=10)
    figure.colorbar(colours, ax=axes, label="AUROC", pad=0.02)
    return figure


def _height(value: Any, distribution: Any) -> float:
    """Where a value stands on its axis, 0 … 1."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices.index(value) / max(len(distribution.choices) - 1, 1)
    low, high = (
        np.log([distribution.low, distribution.high]) if distribution.log else (distribution.low, distribution.high)
    )
    return float(((np.log(value) if distribution.log else value) - low) / ((high - low) or 1))


def _ticks(distribution: Any) -> list[tuple[float, str]]:
    """The ends of an axis, or its choices."""
    if isinstance(distribution, CategoricalDistribution):
        return [(_height(choice, distribution), str(choice)) for choice in distribution.choices]
    return [(0.0, f"{distribution.low:g}"), (1.0, f"{distribution.high:g}{' (log)' if distribution.log else ''}")]


def _too_few(complete: list[FrozenTrial], least: int) -> str:
    return f"complete trials: {len(complete)}, needed: {least}" if len(complete) < least else ""


def _no_importance(complete: list[FrozenTrial]) -> str:
    if reason := _too_few(complete, LEAST_FOR_IMPORTANCE):
        return reason
    if len({trial.value for trial in complete}) < 2:
        return "all complete trials have the same AUROC"
    return ""


def _importance(study: optuna.Study, seed: int) -> Any:
    """How much of the differences in AUROC each parameter explains (fANOVA, Hutter et al. 2014)."""

    def draw(model_study: ModelStudy, trials: list[FrozenTrial]) -> "Figure":
        importances = optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=seed)
        )
        names, shares = list(importances)[::-1], list(importances.values())[::-1]
        figure, axes = plt.subplots(figsize=(6.4, 0.36 * len(names) + 1.1), layout="constrained")
        axes.barh(range(len(names)), shares, color=BLUE, height=0.6)
        for place, share in enumerate(shares):
            axes.text(share + 0.01, place, f"{share:.2f}", va="center", fontsize=8, color="#4a5568")
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="share of the differences in AUROC", xlim=(0, 1.08))
        complete = sum(trial.state == TrialState.COMPLETE for trial in trials)
        axes.set_title(f"{model_study.model}: importance, from {complete} complete trials", fontsize=10)
        return figure

    return draw
