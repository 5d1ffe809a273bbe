"""How several GPUs are used, TensorFlow's way and JAX's."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from osteon.models.networks.quiet_keras import keras


def distribution() -> AbstractContextManager[Any]:
    """The scope in which to build and compile a network: all GPUs of this machine, where TensorFlow has several.

    Under JAX all local devices share each batch by Keras' DataParallel.
    """
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


def gpus() -> int:
    """How many there are, for the backend that is used."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return len(tf.config.list_logical_devices("GPU"))
    if keras.backend.backend() == "jax":
        import jax

        return sum(device.platform == "gpu" for device in jax.devices())
    return 0


def describe_devices() -> str:
    """What trains, for the log."""
    count = gpus()
    return f"{keras.backend.backend()} on {f'{count} GPU' + 's' * (count > 1) if count else 'the CPU'}"
