"""How large the status of a workflow becomes, from the compiled pipeline and what its tasks are given.

Kubeflow Pipelines 2.17 keeps a run as a workflow of Argo. Its status has six nodes for each task: the driver and its
retry, the task and its retry, the pod and its retry. Both of the driver have its input: the component, the task, the
container and what Kubernetes must know. All six have the patch of the pod that the driver makes, with the container,
the values of the parameters and the places of the artefacts, as text in a text in a text: a quotation mark takes
eight characters. Above 1 MiB Argo compresses the status, and Kubeflow reads no compressed one.

The run that was recorded took 1.25 MB; of its pipeline and parameters this says 1.32.
"""

import json
from collections.abc import Mapping
from typing import Any

from tests.pipelines.compiled_pipeline import Compiled

LIMIT = 1024 * 1024  # bytes
FOLDS = 5
NODE = 800  # of a node without its input and output: names, times, phase, children
# As a server with an object store of its own writes it.
RUN = "00000000-0000-4000-8000-000000000000"
PLACE = f"minio://mlpipeline/v2/artifacts/osteon-training/{RUN}/{{task}}/{RUN}/{{name}}"
STORE = {
    "Provider": "minio",
    "Params": {
        "accessKeyKey": "accesskey",
        "disableSSL": "true",
        "endpoint": "seaweedfs.kubeflow:9000",
        "fromEnv": "false",
        "maxRetries": "5",
        "region": "minio",
        "secretKeyKey": "secretkey",
        "secretName": "mlpipeline-minio-artifact",
    },
}


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _artefact(task: str, name: str, given: bool, times: int = 1) -> dict[str, Any]:
    metadata = {"display_name": name, "store_session_info": _text(STORE)} if given else {}
    place = {"uri": PLACE.format(task=task, name=name), "metadata": metadata}
    return {"artifacts": [{"name": "16", "type": {"schemaTitle": "system.Artifact"}, **place}] * times}


def pod_patch(pipeline: Compiled, name: str, values: Mapping[str, str]) -> str:
    """The patch of a task's pod. values: of its parameters."""
    component = pipeline.component_of(pipeline.task(name))
    read, wrote = (component.get(key, {}) for key in ("inputDefinitions", "outputDefinitions"))
    executor_input = {
        "inputs": {
            "parameterValues": {key: values[key] for key in read.get("parameters", {})},
            "artifacts": {
                key: _artefact(name, key, True, FOLDS if of.get("isArtifactList") else 1)
                for key, of in read.get("artifacts", {}).items()
            },
        },
        "outputs": {
            "parameters": {key: {"outputFile": f"/tmp/kfp/outputs/{key}"} for key in wrote.get("parameters", {})},  # noqa: S108
            "artifacts": {key: _artefact(name, key, False) for key in wrote.get("artifacts", {})},
            "outputFile": "/tmp/kfp_outputs/output_metadata.json",  # noqa: S108
        },
    }
    container, pod = pipeline.executor(name), pipeline.pod(name)
    launch = ["/kfp-launcher/launch", "--pipeline_name", "osteon-training", "--run_id", RUN, "--execution_id", "100"]
    launch += ["--executor_input", _text(executor_input), "--component_spec", _text(component)]
    launch += ["--pod_name", "$(KFP_POD_NAME)", "--pod_uid", "$(KFP_POD_UID)", "--publish_logs", "true", "--"]
    variables = [
        *container.get("env", ()),
        *({"name": each["name"], "valueFrom": {"fieldRef": each}} for each in pod.get("fieldPathAsEnv", ())),
    ]
    volumes = [*pod.get("emptyDirMounts", ()), *pod.get("secretAsVolume", ())]
    main = {
        "name": "main",
        "image": container["image"],
        "command": launch,
        "args": [*container["command"], *container["args"]],
        "env": variables,
        "resources": container["resources"],
        "volumeMounts": [{"name": "secret", "mountPath": each["mountPath"]} for each in volumes],
        "securityContext": {"runAsNonRoot": True},
    }
    return _text({"containers": [main], "volumes": volumes, "activeDeadlineSeconds": pod["activeDeadlineSeconds"]})


def status_of_task(pipeline: Compiled, name: str, values: Mapping[str, str]) -> int:
    """Bytes that a task takes in the status, without a second attempt."""
    given = [pipeline.component_of(pipeline.task(name)), pipeline.task(name), pipeline.executor(name)]
    driver = sum(len(_text(_text(part)).encode()) for part in (*given, pipeline.pod(name)))
    return 6 * NODE + 2 * driver + 6 * len(_text(pod_patch(pipeline, name, values)).encode())


def status_of_graphs(pipeline: Compiled, arguments: Mapping[str, str]) -> int:
    """Bytes of what is around the tasks: the whole, conditions, loops, pipelines in pipelines."""
    root = pipeline.spec["root"]
    size = 6 * NODE + 2 * (len(_text(_text(root)).encode()) + len(_text(_text(arguments)).encode()))
    for dag in pipeline.dags():
        for task in dag["tasks"].values():
            if "dag" in (component := pipeline.component_of(task)):
                driver = 2 * sum(len(_text(_text(part)).encode()) for part in (component, task))
                loops = FOLDS if "parameterIterator" in task else 0
                size += 4 * NODE + driver + loops * (6 * NODE + driver)
    return size
