"""The stages of a network's body, which of them are trained, and at which share of the learning rate.

A stage is all layers of one resolution: 1 has the finest, nearest the film. All networks have five, plain has four.
"""

from typing import Any

from osteon.models.networks.quiet_keras import keras
from osteon.models.networks.starting_weights import body_layers


def stages_of(network: Any) -> dict[str, int]:
    """The stage, from 1, of each layer with weights of the body, by the layer's name."""
    of_body = {layer.name: layer.output.shape[1] for layer in body_layers(network)}
    sides: dict[int, int] = {}  # of the features that a tensor is or becomes
    for operation in reversed(network.operations):  # they are in the order in which they are computed
        tensor = operation.output
        # What squeeze-and-excite finds for all places at once belongs to the features that it is multiplied with.
        side = max(of_body.get(operation.name, 0), sides.get(id(tensor), 0))
        if operation.name in of_body:
            of_body[operation.name] = side
        for before in [] if isinstance(operation, keras.layers.InputLayer) else keras.tree.flatten(operation.input):
            sides[id(before)] = max(side, sides.get(id(before), 0))
    number = {side: place for place, side in enumerate(sorted(set(of_body.values()), reverse=True), start=1)}
    return {name: number[side] for name, side in of_body.items()}


def freeze_stages(network: Any, frozen: int) -> None:
    """Train the body without its first stages, and the heads. The network must be compiled afterwards.

    Batch normalisation of a frozen stage goes by its averages and leaves them as they are.

    Args:
        network: of build_network.
        frozen: how many stages do not change; as many as there are, or more: the whole body.

    """
    stages = stages_of(network)
    for layer in body_layers(network):
        layer.trainable = stages[layer.name] > frozen


def freeze_body(network: Any) -> None:
    """Train the heads alone. The network must be compiled afterwards."""
    freeze_stages(network, len(network.layers))


def rate_shares(network: Any, layer_decay: float) -> list[float]:
    """The share of the learning rate at which each of network.trainable_variables is trained, in their order.

    layer_decay to the power of the stages from here to the heads: the heads have 1, the last stage has layer_decay, the
    one before it its square (Howard & Ruder 2018, arXiv 1801.06146; Bao et al. 2021, arXiv 2106.08254).
    """
    stages = stages_of(network)
    behind = max(stages.values()) + 1
    shares = {
        id(variable): layer_decay ** (behind - stages[layer.name])
        for layer in body_layers(network)
        for variable in layer.trainable_variables
    }
    return [shares.get(id(variable), 1.0) for variable in network.trainable_variables]
