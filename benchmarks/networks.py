"""Networks: a training step and an answer of each, beside its size; films are noise, for time does not depend on them.

One process a network. A step is train_on_batch with the default batch, losses and optimiser at params.yaml's side, in
float32, the data already in memory; an answer is predict_on_batch of as many films. The first two of each, which trace
and compile, are not counted. Of the others the least CPU time of all threads is taken, which other work on the machine
changes little. Multiplications are those of convolutions and dense layers for one film.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, get_args

from benchmarks.findings import Findings
from benchmarks.fresh_process import in_fresh_process

STEPS, QUICK_STEPS, UNCOUNTED = 6, 2, 2
TURNS = 60
# What training.frozen_stages and frozen_statistics save, of the network that docs recommend.
FROZEN = "efficientnet_lite0"
STAGES = 5


class Cost(NamedTuple):
    """What a network costs: parameters and multiplications a film, CPU seconds of a step and of an answer."""

    parameters: int
    multiplications: int
    step: float
    answer: float


def measure(quick: bool) -> Findings:
    """Time every network that params.yaml can name, what fused normalisation saves the first, and freezing another."""
    from osteon.params import NetworkName, Params

    params, names = Params(), get_args(NetworkName)
    side, batch = params.preparation.image_size, params.training.batch_size
    steps, turns = (QUICK_STEPS, QUICK_STEPS) if quick else (STEPS, TURNS)
    costs = {name: in_fresh_process(cost_of, name, side, batch, steps) for name in names}
    first = costs[names[0]]
    unfused = in_fresh_process(times_as_long_unfused, names[0], side, batch, turns)
    stages, statistics = in_fresh_process(shares_of_a_step, FROZEN, side, batch, steps)
    return Findings(
        n=f"{steps} steps of {batch} films of {side} × {side} pixels, float32",
        columns=[
            "network",
            "parameters, million",
            "multiplications, million",
            "films trained a CPU second",
            "a step",
            "a step, ns a multiplication",
            "films answered a CPU second",
        ],
        rows=[
            [
                name,
                f"{cost.parameters / 1e6:.2f}",
                f"{cost.multiplications / 1e6:,.0f}",
                f"{batch / cost.step:.1f}",
                f"{cost.step / first.step:.1f} ×",
                f"{1e9 * cost.step / batch / cost.multiplications:.2f}",
                f"{batch / cost.answer:.1f}",
            ]
            for name, cost in costs.items()
        ],
        goals=[],
        notes=[
            f"A step: as many times that of {names[0]}.",
            f"With batch normalisation as Keras writes it a step of {names[0]} takes {unfused:.2f} times as long as "
            f"with the fused one (the least of {turns} steps of each, in turns, in one process).",
            f"With the first 1, 2, … {STAGES} stages frozen a step of {FROZEN} takes "
            f"{', '.join(f'{share:.2f}' for share in stages)} of the time; with frozen statistics {statistics:.2f}.",
        ],
    )


def cost_of(name: str, side: int, batch: int, steps: int) -> Cost:
    """Build, count and time one network, as it is trained: with fused normalisation."""
    network, films, targets = _network_and_noise(name, side, batch)
    (step,) = _in_turns([lambda: network.train_on_batch(films, targets)], steps)
    (answer,) = _in_turns([lambda: network.predict_on_batch(films)], steps)
    return Cost(network.count_params(), multiplications(network), step, answer)


def times_as_long_unfused(name: str, side: int, batch: int, steps: int) -> float:
    """A step with batch normalisation as Keras writes it, over one with the fused one."""
    fused, films, targets = _network_and_noise(name, side, batch)
    unfused, *_ = _network_and_noise(name, side, batch, fused=False)
    works = [lambda: unfused.train_on_batch(films, targets), lambda: fused.train_on_batch(films, targets)]
    slow, fast = _in_turns(works, steps)
    return slow / fast


def shares_of_a_step(name: str, side: int, batch: int, steps: int) -> tuple[list[float], float]:
    """A step with so many stages frozen, over one with none; the same with frozen statistics."""
    frozen: list[dict[str, Any]] = [{"frozen_stages": stages} for stages in range(STAGES + 1)]
    works: list[Callable[[], object]] = []
    for keys in [*frozen, {"frozen_statistics": True}]:
        network, films, targets = _network_and_noise(name, side, batch, weights="imagenet", **keys)
        works.append(partial(network.train_on_batch, films, targets))
    whole, *others, statistics = _in_turns(works, steps)
    return [step / whole for step in others], statistics / whole


def _network_and_noise(
    name: str, side: int, batch: int, *, fused: bool = True, **keys: Any
) -> tuple[Any, Any, dict[str, Any]]:
    """A compiled network, and films and targets to train it with; keys are other keys of training."""
    import numpy as np

    from osteon.models.networks.backend import load_keras

    load_keras()
    from osteon.models.fitting.fit import compile_network
    from osteon.models.fitting.fused_normalisation import training_copy
    from osteon.models.networks.architectures import MAP_STRIDE, build_network
    from osteon.params import TrainingParams

    params = TrainingParams.model_validate({"network": name, **keys})
    network = build_network(side, params)
    if fused:
        network = training_copy(network, frozen_statistics=params.frozen_statistics)
    compile_network(network, params, 100)
    rng = np.random.default_rng(params.seed)
    films = rng.integers(0, 256, (batch, side, side, 1)).astype(np.uint8)
    cells = side // MAP_STRIDE
    targets = {
        "finding": (np.arange(batch) % 2).astype(np.float32)[:, None],
        "map": np.zeros((batch, cells, cells, 1), np.float32),
    }
    return network, films, targets


def _in_turns(works: Sequence[Callable[[], object]], steps: int) -> list[float]:
    """The least CPU seconds of each."""
    seconds: list[list[float]] = [[] for _ in works]
    for _ in range(UNCOUNTED + steps):
        for work, times in zip(works, seconds, strict=True):
            start = time.process_time()
            work()
            times.append(time.process_time() - start)
    return [min(times[UNCOUNTED:]) for times in seconds]


def multiplications(network: Any) -> int:
    """Of all convolutions and dense layers, for one film: each number of a kernel, at each place of the output."""
    import math

    return sum(
        math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
        for layer in network.layers
        if hasattr(layer, "kernel")
    )
