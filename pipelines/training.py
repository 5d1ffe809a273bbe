"""The training pipeline: the graph of dvc.yaml, with folds and the search's workers side by side."""

from dataclasses import dataclass
from typing import Any

from kfp import dsl, kubernetes
from kfp.dsl.base_component import BaseComponent
from kfp.dsl.pipeline_task import PipelineTask

from osteon.mounted_secret import MOUNTED
from osteon.params import ResourceParams, StepResources
from pipelines import steps

BACK_OFF, LONGEST_BACK_OFF = "30s", "600s"  # between two attempts, twice as long each time
REPORTING = StepResources(cpu=1.0, memory="1G", hours=0.25)


@dataclass(frozen=True)
class Placed:
    """What is baked into a compiled pipeline. image: NAME@sha256:…. commit: of the pipeline's own code."""

    image: str
    commit: str
    resources: ResourceParams


def place(task: PipelineTask, placed: Placed, resources: StepResources, *, retried: bool = False) -> PipelineTask:
    """Give a task its image, its resources and its environment.

    Args:
        task: of any step.
        placed: what is baked in.
        resources: the step's own.
        retried: it needs the network for more than artefacts; a failed attempt is retried after a pause, each longer.

    """
    task.set_container_image(placed.image)
    task.set_cpu_request(str(resources.cpu)).set_memory_request(resources.memory).set_memory_limit(resources.memory)
    if resources.gpu:
        nodes = placed.resources.gpu_nodes
        task.set_accelerator_type(nodes.kind).set_accelerator_limit(resources.gpu)
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
    kubernetes.set_timeout(task, int(resources.hours * 3600))
    kubernetes.set_security_context(task, run_as_non_root=True)
    task.set_env_variable("OSTEON_IMAGE", placed.image)
    task.set_env_variable("OSTEON_PIPELINE_COMMIT", placed.commit)
    # As a parameter it would differ in each run, so that the cache would never match.
    kubernetes.use_field_path_as_env(task, "OSTEON_PASS", "metadata.labels['pipeline/runid']")
    # One folder. Kubeflow keeps what a pod is made of six times, and variables for each key were half of it.
    kubernetes.use_secret_as_volume(task, placed.resources.secret, mount_path=MOUNTED, optional=True)
    if retried and placed.resources.retries:
        task.set_retry(
            placed.resources.retries,
            backoff_duration=BACK_OFF,
            backoff_factor=2.0,
            backoff_max_duration=LONGEST_BACK_OFF,
        )
    return task


def never_cached(task: PipelineTask) -> PipelineTask:
    """For a task whose result depends on what may have changed since."""
    return task.set_caching_options(False)


def films_to_registry(
    placed: Placed, params: Any, policy: Any, repository: Any, revision: Any, mode: Any, reason: Any
) -> None:
    """Call every step, in the order in which a film meets them; their inputs and outputs make the graph."""
    resources = placed.resources
    begun = place(
        never_cached(steps.find_films(repository=repository, revision=revision, params=params, reason=reason)),
        placed,
        resources.finding,
        retried=True,
    )
    own = begun.outputs
    films = own["films"]

    ingest = place(steps.ingest(params=own["ingest"], films=films), placed, resources.ingestion, retried=True)
    manifest = ingest.outputs["manifest"]
    validate = place(
        steps.validate(params=own["validate"], manifest=manifest, films=films),
        placed,
        resources.validation,
        retried=True,
    )
    trusted = validate.outputs["trusted"]
    prepare = place(
        steps.prepare(params=own["prepare"], kept_sides=own["sides"], trusted=trusted, films=films),
        placed,
        resources.preparation,
        retried=True,
    )
    dataset, leaks = prepare.outputs["dataset"], prepare.outputs["leaks"]
    augment = place(steps.augment(params=own["augment"], dataset=dataset), placed, resources.augmentation)
    training_data = {"dataset": dataset, "augmented": augment.outputs["augmented"]}
    features = place(steps.features(params=own["features"], **training_data), placed, resources.features)
    training_data["features"] = features.outputs["features"]

    search = place(steps.search(params=own["search"], **training_data), placed, resources.search, retried=True)
    for worker in range(1, resources.search_workers):
        beside = steps.join_search(params=own["search"], worker=worker, **training_data)
        place(never_cached(beside), placed, resources.search, retried=True)
    training_data["best"] = search.outputs["best"]

    shared = place(steps.share_folds(folds=own["folds"]), placed, resources.finding)
    with dsl.ParallelFor(shared.output, name="folds", parallelism=resources.folds_at_once) as given:
        fold = place(steps.cross_validate_fold(given=given, **training_data), placed, resources.cross_validation)
    collected = dsl.Collected(fold.outputs["fold"])
    cross_validate = place(
        steps.cross_validate(params=own["cross_validate"], computed=collected, **training_data),
        placed,
        resources.evaluation,
    )
    folds = cross_validate.outputs["folds"]

    train = place(steps.train(params=own["train"], folds=folds, **training_data), placed, resources.training)
    model = train.outputs["model"]
    evaluate = place(
        steps.evaluate(
            params=own["evaluate"],
            model=model,
            dataset=dataset,
            best=training_data["best"],
            folds=folds,
            validation=validate.outputs["report"],
            leaks=leaks,
        ),
        placed,
        resources.evaluation,
    )
    with dsl.If(mode != "off", name="judged"):
        judge = steps.promote(
            films=films,
            policy=policy,
            mode=mode,
            model=model,
            dataset=dataset,
            trusted=trusted,
            report=evaluate.outputs["report"],
            leaks=leaks,
        )
        place(never_cached(judge), placed, resources.promotion, retried=True)


def end_reported(placed: Placed, mode: Any) -> dsl.ExitHandler:
    """Report the end of the tasks within to MLflow and the webhook, whatever it is. mode: of the promotion."""
    end = place(steps.report_end(mode=mode), placed, REPORTING, retried=True)
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
        with end_reported(placed, mode):
            films_to_registry(placed, params, policy, repository, revision, mode, reason)

    return osteon_training
