"""How several GPUs are used, TensorFlow's way and JAX's."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any


def distribution() -> AbstractContextManager[Any]:
    """The scope in which to build and compile a network: all GPUs of this machine, where TensorFlow has several.

    Under JAX all local devices share each batch by Keras' DataParallel.
    """
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_logical_devices("GPU")
        return _mirrored([gpu.name for gpu in gpus]) if len(gpus) > 1 else nullcontext()
    if keras.backend.backend() == "jax":
        # Asked for GPUs only, JAX raises where there is none.
        devices = [device for device in keras.distribution.list_devices() if device.startswith("gpu")]
        if len(devices) > 1:
            return keras.distribution.DataParallel(devices=devices).scope()  # type: ignore[no-any-return]
    return nullcontext()


def _mirrored(devices: list[str]) -> AbstractContextManager[Any]:
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(devices).scope()  # type: ignore[no-any-return]


def describe_devices() -> str:
    """What trains, for the log."""
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        gpus = len(tf.config.list_logical_devices("GPU"))
    elif backend == "jax":
        import jax

        gpus = sum(device.platform == "gpu" for device in jax.devices())
    else:
        return str(backend)
    return f"{backend} on {f'{gpus} GPU' + 's' * (gpus > 1) if gpus else 'the CPU'}"
