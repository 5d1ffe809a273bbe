"""The retraining pipeline: asks why, and trains if there is a reason. A schedule starts it."""

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from pipelines import steps
from pipelines.training import Placed, end_reported, films_to_registry, never_cached, place


def retraining_pipeline(placed: Placed) -> BaseComponent:
    """The pipeline that a schedule starts."""

    @dsl.pipeline(name="osteon-training-steps")
    def osteon_training_steps(params: str, policy: str, repository: str, revision: str, mode: str, reason: str) -> None:
        films_to_registry(placed, params, policy, repository, revision, mode, reason)

    @dsl.pipeline(name="osteon-retraining", description="Trains when films, age or drift give a reason")
    def osteon_retraining(
        params: str,
        policy: str,
        repository: str = "",
        revision: str = "main",
        mode: str = "enforce",
        drift: str = "",
    ) -> None:
        with end_reported(placed, mode):
            reason = steps.ask_why(repository=repository, revision=revision, params=params, drift=drift)
            why = place(never_cached(reason), placed, placed.resources.finding, retried=True)
            with dsl.If(why.output != "", name="there-is-a-reason"):
                osteon_training_steps(
                    params=params,
                    policy=policy,
                    repository=repository,
                    revision=revision,
                    mode=mode,
                    reason=why.output,
                )

    return osteon_retraining
