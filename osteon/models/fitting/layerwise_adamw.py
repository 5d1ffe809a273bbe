"""Keras' AdamW, in which each weight may be trained at a share of the rate."""

from collections.abc import Sequence
from typing import Any

from osteon.models.networks.quiet_keras import keras


class LayerwiseAdamW(keras.optimizers.AdamW):  # type: ignore[misc]
    """A share counts for a whole step: a weight moves and decays by that share of what it would at the full rate.

    So the decay keeps its strength beside the gradient, as if the whole network were trained at that rate.
    """

    def __init__(self, rate: Any, *, shares: Sequence[float] = (), **options: Any) -> None:
        """Make it.

        Args:
            rate: a number or a schedule.
            shares: of the rate, one for each variable in the order of build; none: all at the full rate.
            options: of keras.optimizers.AdamW.

        """
        super().__init__(rate, **options)
        self.shares = tuple(shares)

    def share_of(self, variable: Any) -> Any:
        """The share of a variable that the optimiser was built for: a number, or an array that fits the variable."""
        return self.shares[self._get_variable_index(variable)]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Take a step with one variable."""
        if self.shares:
            learning_rate = keras.ops.cast(learning_rate, variable.dtype) * self.share_of(variable)
            self.assign_sub(variable, variable * self.weight_decay * learning_rate)
        super().update_step(gradient, variable, learning_rate)

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """All at the full rate; with shares each variable's own step does it."""
        if not self.shares:
            super()._apply_weight_decay(variables)
