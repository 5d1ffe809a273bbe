"""The training pipeline: the graph of dvc.yaml, with folds and the search's workers side by side."""

from dataclasses import dataclass
from typing import Any

from kfp import dsl, kubernetes
from kfp.dsl.base_component import BaseComponent
from kfp.dsl.pipeline_task import PipelineTask

from osteon.params import ResourceParams, StepResources
from pipelines import steps

# What the secret may have: keys of the same names as the variables that a step reads.
SECRETS = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_EXPERIMENT_NAME",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "MLFLOW_S3_ENDPOINT_URL",
    "OSTEON_IDENTITY_KEY",
    "OSTEON_REPOSITORY",
    "OSTEON_SEARCH_STORAGE",
    "OSTEON_WEBHOOK",
)
BACK_OFF, LONGEST_BACK_OFF = "30s", "600s"  # between two tries, twice as long each time
REPORTING = StepResources(cpu=1.0, memory="1G", hours=0.25)


@dataclass(frozen=True)
class Placed:
    """What is baked into a compiled pipeline. image: NAME@sha256:…. commit: of the pipeline's own code."""

    image: str
    commit: str
    resources: ResourceParams


def on(task: PipelineTask, placed: Placed, asked: StepResources, *, looks: bool = False) -> PipelineTask:
    """Give a task its image, what it asks of the cluster, and what it must know.

    Args:
        task: of any step.
        placed: what is baked in.
        asked: the step's own resources.
        looks: it asks the network for more than artefacts; then it is tried again, each time after a longer pause.

    """
    task.set_container_image(placed.image)
    task.set_cpu_request(str(asked.cpu)).set_memory_request(asked.memory).set_memory_limit(asked.memory)
    if asked.gpu:
        nodes = placed.resources.gpu_nodes
        task.set_accelerator_type(nodes.kind).set_accelerator_limit(asked.gpu)
        for label, value in nodes.selector.items():
            kubernetes.add_node_selector(task, label, value)
        for key in nodes.tolerations:
            kubernetes.add_toleration(task, key=key, operator="Exists", effect="NoSchedule")
    kubernetes.empty_dir_mount(
        task,
        volume_name="shm",
        mount_path="/dev/shm",  # noqa: S108 – the folder by which processes share memory
        medium="Memory",
        size_limit=placed.resources.shared_memory,
    )
    kubernetes.set_timeout(task, int(asked.hours * 3600))
    kubernetes.set_security_context(task, run_as_non_root=True)
    task.set_env_variable("OSTEON_IMAGE", placed.image)
    task.set_env_variable("OSTEON_PIPELINE_COMMIT", placed.commit)
    # As a parameter it would be another one in each run, and nothing would be found in the cache.
    kubernetes.use_field_path_as_env(task, "OSTEON_PASS", "metadata.labels['pipeline/runid']")
    for key in SECRETS:
        kubernetes.use_secret_as_env(task, placed.resources.secret, {key: key}, optional=True)
    if looks and placed.resources.retries:
        task.set_retry(
            placed.resources.retries,
            backoff_duration=BACK_OFF,
            backoff_factor=2.0,
            backoff_max_duration=LONGEST_BACK_OFF,
        )
    return task


def never_cached(task: PipelineTask) -> PipelineTask:
    """For a task that looks at what may have changed since."""
    return task.set_caching_options(False)


def films_to_registry(
    placed: Placed, params: Any, policy: Any, repository: Any, revision: Any, mode: Any, reason: Any
) -> None:
    """Call every step, in the order in which a film meets them; what they need of each other makes the graph."""
    asked = placed.resources
    found = on(
        never_cached(steps.find_films(repository=repository, revision=revision, params=params, reason=reason)),
        placed,
        asked.finding,
        looks=True,
    )
    films = {"repository": repository, "revision": revision, "data": found.output}
    own = on(steps.share_params(params=params), placed, asked.finding).outputs

    ingest = on(steps.ingest(params=own["ingest"], **films), placed, asked.ingestion, looks=True)
    manifest = ingest.outputs["manifest"]
    validate = on(
        steps.validate(params=own["validate"], manifest=manifest, **films), placed, asked.validation, looks=True
    )
    trusted = validate.outputs["trusted"]
    prepare = on(steps.prepare(params=own["prepare"], trusted=trusted, **films), placed, asked.preparation, looks=True)
    dataset, leaks = prepare.outputs["dataset"], prepare.outputs["leaks"]
    augment = on(steps.augment(params=own["augment"], dataset=dataset), placed, asked.augmentation)
    learnt = {"dataset": dataset, "augmented": augment.outputs["augmented"]}
    features = on(steps.features(params=own["features"], **learnt), placed, asked.features)
    learnt["features"] = features.outputs["features"]

    search = on(steps.search(params=own["search"], **learnt), placed, asked.search, looks=True)
    for worker in range(1, asked.search_workers):
        beside = steps.join_search(params=own["search"], worker=worker, **learnt)
        on(never_cached(beside), placed, asked.search, looks=True)
    learnt["best"] = search.outputs["best"]

    shared = on(steps.share_folds(params=params), placed, asked.finding)
    with dsl.ParallelFor(shared.output, name="folds", parallelism=asked.folds_at_once) as given:
        fold = on(steps.cross_validate_fold(given=given, **learnt), placed, asked.cross_validation)
    collected = dsl.Collected(fold.outputs["fold"])
    cross_validate = on(
        steps.cross_validate(params=own["cross_validate"], computed=collected, **learnt), placed, asked.evaluation
    )
    folds = cross_validate.outputs["folds"]

    train = on(steps.train(params=own["train"], folds=folds, **learnt), placed, asked.training)
    model = train.outputs["model"]
    evaluate = on(
        steps.evaluate(
            params=own["evaluate"],
            model=model,
            dataset=dataset,
            best=learnt["best"],
            folds=folds,
            validation=validate.outputs["report"],
            leaks=leaks,
        ),
        placed,
        asked.evaluation,
    )
    with dsl.If(mode != "off", name="judged"):
        judge = steps.promote(
            policy=policy,
            mode=mode,
            model=model,
            dataset=dataset,
            trusted=trusted,
            report=evaluate.outputs["report"],
            leaks=leaks,
            **films,
        )
        on(never_cached(judge), placed, asked.promotion, looks=True)


def end_reported(placed: Placed) -> dsl.ExitHandler:
    """Whatever comes of the tasks within, MLflow and the webhook are told."""
    end = on(steps.report_end(), placed, REPORTING, looks=True)
    return dsl.ExitHandler(never_cached(end), name="films-to-registry")


def training_pipeline(placed: Placed) -> BaseComponent:
    """The pipeline that a person starts."""

    @dsl.pipeline(name="osteon-training", description="Films to a judged model, every figure with its interval")
    def osteon_training(
        params: str,
        policy: str,
        repository: str = "",
        revision: str = "main",
        mode: str = "enforce",
        reason: str = "asked for",
    ) -> None:
        with end_reported(placed):
            films_to_registry(placed, params, policy, repository, revision, mode, reason)

    return osteon_training
