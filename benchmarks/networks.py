"""Networks: a training step and an answer of each, beside its size; films are noise, for time does not depend on them.

One process a network. A step is train_on_batch with the default batch, losses and optimiser at params.yaml's side, in
float32, the data already in memory; an answer is predict_on_batch of as many films. The first two of each, which trace
and compile, are not counted. Multiplications are those of convolutions and dense layers for one film.
"""

import statistics
import time
from typing import Any, NamedTuple, get_args

from benchmarks.findings import Findings
from benchmarks.fresh_process import in_fresh_process

STEPS, QUICK_STEPS, UNCOUNTED = 10, 2, 2


class Cost(NamedTuple):
    """What a network costs: parameters and multiplications a film, median seconds of a step and of an answer."""

    parameters: int
    multiplications: int
    step: float
    answer: float


def measure(quick: bool) -> Findings:
    """Time every network that params.yaml can name."""
    from components.params import NetworkName, Params

    params, names = Params(), get_args(NetworkName)
    side, batch = params.preparation.image_size, params.training.batch_size
    steps = QUICK_STEPS if quick else STEPS
    costs = {name: in_fresh_process(cost_of, name, side, batch, steps) for name in names}
    first = costs[names[0]]
    return Findings(
        n=f"{steps} steps of {batch} films of {side} × {side} pixels, float32",
        columns=[
            "network",
            "parameters, million",
            "multiplications, million",
            "films/s learnt",
            "a step",
            "films/s answered",
        ],
        rows=[
            [
                name,
                f"{cost.parameters / 1e6:.2f}",
                f"{cost.multiplications / 1e6:,.0f}",
                f"{batch / cost.step:.1f}",
                f"{cost.step / first.step:.1f} ×",
                f"{batch / cost.answer:.1f}",
            ]
            for name, cost in costs.items()
        ],
        goals=[],
        notes=[f"A step: as many times that of {names[0]}."],
    )


def cost_of(name: str, side: int, batch: int, steps: int) -> Cost:
    """Build, count and time one network."""
    import numpy as np

    from components.models.backend import load_keras

    load_keras()
    from components.models.fit import compile_network
    from components.models.fused_normalisation import with_fused_normalisation
    from components.models.networks import MAP_STRIDE, build_network
    from components.params import TrainingParams

    params = TrainingParams.model_validate({"network": name})
    network = with_fused_normalisation(build_network(side, params))
    compile_network(network, params, 100)
    rng = np.random.default_rng(params.seed)
    films = rng.integers(0, 256, (batch, side, side, 1)).astype(np.uint8)
    cells = side // MAP_STRIDE
    targets = {
        "finding": (np.arange(batch) % 2).astype(np.float32)[:, None],
        "map": np.zeros((batch, cells, cells, 1), np.float32),
    }
    seconds: dict[str, list[float]] = {"step": [], "answer": []}
    for _ in range(UNCOUNTED + steps):
        start = time.perf_counter()
        network.train_on_batch(films, targets)
        seconds["step"].append(time.perf_counter() - start)
    for _ in range(UNCOUNTED + steps):
        start = time.perf_counter()
        network.predict_on_batch(films)
        seconds["answer"].append(time.perf_counter() - start)
    step, answer = (statistics.median(times[UNCOUNTED:]) for times in seconds.values())
    return Cost(network.count_params(), multiplications(network), step, answer)


def multiplications(network: Any) -> int:
    """Of all convolutions and dense layers, for one film: each number of a kernel, at each place of the output."""
    import math

    return sum(
        math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
        for layer in network.layers
        if hasattr(layer, "kernel")
    )
