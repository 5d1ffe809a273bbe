"""A network as ONNX: it answers without Keras and TensorFlow, in a tenth of the time that Keras' predict takes."""

import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteon.errors import OsteonError
from osteon.models.inference.out_of_distribution import with_embedding
from osteon.models.networks.network_files import load_network

OPSET = 18


class OnnxNetwork:
    """A network that export_network wrote, run by ONNX Runtime on this machine's cores."""

    def __init__(self, path: Path, threads: int = 0) -> None:
        """Load a network.

        Args:
            path: of the file.
            threads: of one call; 0: as many as there are cores.

        Raises:
            OsteonError: missing or damaged.

        """
        import onnxruntime

        if not path.is_file():
            raise OsteonError(f"{path.parent}: no packaged model ({path.name} is missing); run the step train")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        # What ONNX Runtime raises, one byte changed here or there, is not documented.
        except Exception as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise OsteonError(f"{path.parent}: damaged model ({reason}); run the step train again") from None
        self._input = self._session.get_inputs()[0].name
        self.outputs = [output.name for output in self._session.get_outputs()]

    def predict_on_batch(self, films: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """The network's outputs, by their names in Keras, and the 'embedding' from which 'finding' is computed.

        Args:
            films: batch × side × side × 1.

        """
        if not len(films):  # which ONNX Runtime cannot reshape
            blank = np.zeros((1, *films.shape[1:]), np.uint8)
            return {name: values[:0] for name, values in self.predict_on_batch(blank).items()}
        return dict(zip(self.outputs, self._session.run(None, {self._input: films}), strict=True))


def export_network(source: Path, path: Path) -> None:
    """Write a network of a .keras file as ONNX, in float32 whatever it was trained in.

    TensorFlow does it, whichever backend trained the network: what Keras has for JAX needs one more library.

    Args:
        source: of the .keras file, as save_network writes it.
        path: of the file to write.

    """
    from osteon.models.networks.quiet_keras import keras

    if keras.backend.backend() == "tensorflow":
        _export(source, path)
        return
    # A process has one backend. The device is the training's.
    changed = {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(  # noqa: S603 – our own module
        [sys.executable, "-m", __name__, str(source), str(path)],
        env={**os.environ, **changed},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip() or "killed").splitlines()[-1]
        raise RuntimeError(f"{source} could not be exported to ONNX: {reason}")


def _export(source: Path, path: Path) -> None:
    import onnx

    from osteon.models.networks.quiet_keras import keras

    network = with_embedding(in_float32(load_network(source)))
    films = keras.InputSpec(shape=network.input_shape, dtype="uint8", name="films")
    # Where it cannot simplify a graph it prints a traceback and goes on; the graph is right all the same.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of what Keras does to tf2onnx
        network.export(path, format="onnx", verbose=False, input_signature=[films], opset_version=OPSET)
    written = onnx.load(path)
    _in_one_order(written.graph)
    onnx.checker.check_model(written, full_check=True)
    onnx.save(written, path)


def in_float32(network: Any) -> Any:
    """A network with the same weights that computes in float32; itself, if it does so already."""
    from osteon.models.networks.quiet_keras import keras

    if all(layer.dtype_policy.name == "float32" for layer in network.layers):
        return network

    def changed_layer(layer: Any) -> Any:
        return layer.__class__.from_config({**layer.get_config(), "dtype": "float32"})

    changed = keras.models.clone_model(network, clone_function=changed_layer)
    changed.set_weights(network.get_weights())
    return changed


def _in_one_order(graph: Any) -> None:
    """Sort a graph's nodes and call what is inside by numbers, both by what leads to its outputs.

    tf2onnx orders by the hash of names that count on from export to export: no file would be as another.
    """
    makers = {name: node for node in graph.node for name in node.output}
    ordered: list[Any] = []
    done: set[str] = set()
    waiting = [(output.name, False) for output in reversed(graph.output)]
    while waiting:
        name, ready = waiting.pop()
        node = makers.get(name)
        if node is None or node.output[0] in done:
            continue
        if ready:
            ordered.append(node)
            done.add(node.output[0])
        else:
            waiting.append((name, True))
            waiting += [(above, False) for above in reversed(node.input)]

    kept = {"", *(place.name for place in (*graph.input, *graph.output))}
    names: dict[str, str] = {}

    def number(name: str) -> str:
        return name if name in kept else names.setdefault(name, str(len(names)))

    for node in ordered:
        node.name = ""
        node.input[:] = [number(name) for name in node.input]
        node.output[:] = [number(name) for name in node.output]
    tensors = [tensor for tensor in graph.initializer if tensor.name in names]
    for tensor in tensors:
        tensor.name = names[tensor.name]
    tensors.sort(key=lambda tensor: int(tensor.name))
    for field, values in ((graph.node, ordered), (graph.initializer, tensors)):
        copies = [value.__class__.FromString(value.SerializeToString()) for value in values]
        del field[:]
        field.extend(copies)
    del graph.value_info[:]
    graph.doc_string = ""
    for place in (*graph.input, *graph.output):
        place.type.tensor_type.shape.dim[0].dim_param = "films"


if __name__ == "__main__":
    _export(*map(Path, sys.argv[1:]))
