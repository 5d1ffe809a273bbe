"""What a compiled pipeline tells Kubeflow: images, resources, retries, caching, secrets."""

from pathlib import Path

import pytest

from components.promotion.policy import read_policy
from components.tasks.step_tasks import Films, params_of_steps
from osteon.errors import OsteonError
from osteon.mounted_secret import MOUNTED
from osteon.params import ResourceParams, StepResources, load_params
from pipelines import component_functions
from pipelines.arguments import training_arguments
from pipelines.cli import main
from pipelines.compilation import PIPELINES, check_image
from tests.pipelines.compiled_pipeline import COMMIT, IMAGE, Compiled, compiled
from tests.pipelines.workflow_status import FOLDS, LIMIT, status_of_graphs, status_of_task
from tests.threads import in_own_thread

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "pipelines" / "compiled"
LOOKS = {"find-films", "ask-why", "report-end", "promote"}  # at what may have changed since


@pytest.fixture(scope="module", params=PIPELINES)
def pipeline(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return compiled(tmp_path_factory.mktemp("compiled"), request.param)


@pytest.mark.parametrize("name", PIPELINES)
def test_the_files_in_the_repository_are_what_is_compiled_now(name: str, tmp_path: Path) -> None:
    text = (GOLDEN / f"{name}.yaml").read_text(encoding="utf-8")
    assert compiled(tmp_path, name).text == text, f"osteon pipeline compile --image {IMAGE} --commit {COMMIT}"


@pytest.mark.parametrize("name", PIPELINES)
def test_the_same_input_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    assert compiled(tmp_path, name).text == compiled(tmp_path / "again", name).text


@pytest.mark.parametrize("image", ["", "osteon", "osteon:1.0", "osteon:1.0@sha256:12", "osteon@sha512:" + "0" * 64])
def test_an_image_that_can_move_is_refused(image: str) -> None:
    with pytest.raises(OsteonError, match="NAME@sha256:"):
        check_image(image)


def test_every_task_runs_in_the_image_by_its_digest_and_knows_it(pipeline: Compiled) -> None:
    for name in pipeline.executed():
        container = pipeline.executor(name)
        assert container["image"] == IMAGE
        variables = {variable["name"]: variable["value"] for variable in container["env"]}
        assert variables == {"OSTEON_IMAGE": IMAGE, "OSTEON_PIPELINE_COMMIT": COMMIT}


def test_only_what_looks_at_the_world_is_never_cached(pipeline: Compiled) -> None:
    for name in pipeline.executed():
        cached = pipeline.task(name).get("cachingOptions", {}).get("enableCache", False)
        assert cached == (name not in LOOKS), name
        assert "cacheKey" not in pipeline.task(name).get("cachingOptions", {}), name  # it would hide every input


def test_the_pass_is_named_by_the_pods_label_and_by_no_argument(pipeline: Compiled) -> None:
    """An argument that is another one in each run would keep anything from being found in the cache."""
    for name in pipeline.executed():
        assert pipeline.pod(name)["fieldPathAsEnv"] == [
            {"name": "OSTEON_PASS", "fieldPath": "metadata.labels['pipeline/runid']"}
        ]
    assert "{{$.pipeline_job" not in pipeline.text


def test_keys_and_addresses_come_from_the_secret_in_one_folder(pipeline: Compiled) -> None:
    for name in pipeline.executed():
        (secret,) = pipeline.pod(name)["secretAsVolume"]
        assert (secret["secretName"], secret["mountPath"], secret["optional"]) == ("osteon", MOUNTED, True)
        assert "secretAsEnv" not in pipeline.pod(name)


def test_a_container_imports_its_function_from_its_image(pipeline: Compiled) -> None:
    for name in pipeline.executed():
        command, args = pipeline.executor(name)["command"], pipeline.executor(name)["args"]
        assert command[-1] == f"from pipelines.component_functions import {args[-1]}\n"
        assert callable(getattr(component_functions, args[-1]))


def test_what_looks_at_the_network_is_tried_again_after_longer_and_longer_pauses(pipeline: Compiled) -> None:
    tried = {name for name in pipeline.executed() if "retryPolicy" in pipeline.task(name)}
    assert tried == (LOOKS | {"ingest", "validate", "prepare", "search"}) & set(pipeline.executed())
    assert pipeline.task("ingest")["retryPolicy"] == {
        "backoffDuration": "30s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": "600s",
        "maxRetryCount": 3,
    }


def test_no_task_is_tried_again_where_none_should(tmp_path: Path) -> None:
    assert "retryPolicy" not in compiled(tmp_path, retries=0).text


def test_resources_time_memory_and_rights(pipeline: Compiled) -> None:
    wanted = {"find-films": StepResources(cpu=1.0, memory="2G", hours=0.5), "train": ResourceParams().training}
    for name, expected in wanted.items():
        resources, pod = pipeline.executor(name)["resources"], pipeline.pod(name)
        assert float(resources["resourceCpuRequest"]) == expected.cpu
        assert resources["resourceMemoryRequest"] == resources["resourceMemoryLimit"] == expected.memory
        assert float(pod["activeDeadlineSeconds"]) == expected.hours * 3600
        assert pod["securityContext"] == {"runAsNonRoot": True}
        (shared,) = pod["emptyDirMounts"]
        assert (shared["mountPath"], shared["medium"], shared["sizeLimit"]) == ("/dev/shm", "Memory", "1G")  # noqa: S108


def test_what_learns_gets_a_gpu_and_a_node_that_has_one(tmp_path: Path) -> None:
    nodes = {"kind": "example.com/gpu", "selector": {"pool": "x"}, "tolerations": ["example.com/gpu"]}
    pipeline = compiled(tmp_path, gpu_nodes=nodes, training={"gpu": 2})
    accelerators = {name: pipeline.executor(name)["resources"].get("accelerator") for name in pipeline.executed()}
    with_one = {name: gpus for name, gpus in accelerators.items() if gpus}
    assert set(with_one) == {"search", "cross-validate-fold", "train"}
    assert with_one["train"] == {
        "count": "2",
        "resourceCount": "2",
        "resourceType": "example.com/gpu",
        "type": "example.com/gpu",
    }
    for name in pipeline.executed():
        pod = pipeline.pod(name)
        assert ("nodeSelector" in pod) == (name in with_one)
        if name in with_one:
            assert pod["nodeSelector"]["labels"] == {"pool": "x"}
            assert pod["tolerations"] == [{"effect": "NoSchedule", "key": "example.com/gpu", "operator": "Exists"}]


def test_workers_of_the_search_are_tasks_beside_it(tmp_path: Path) -> None:
    pipeline = compiled(tmp_path, search_workers=3)
    assert {name for name in pipeline.executed() if name.startswith("join-search")} == {"join-search", "join-search-2"}
    given = pipeline.task("join-search-2")["inputs"]["parameters"]["worker"]["runtimeValue"]["constant"]
    assert given == 2
    assert "search" not in pipeline.task("join-search").get("dependentTasks", [])


def test_folds_run_side_by_side_all_or_so_many(tmp_path: Path) -> None:
    def policy(**resources: int) -> object:
        pipeline = compiled(tmp_path, **resources)
        (loop,) = [task for dag in pipeline.dags() for task in dag["tasks"].values() if "parameterIterator" in task]
        return loop.get("iteratorPolicy")

    assert policy() is None
    assert policy(folds_at_once=2) == {"parallelismLimit": 2}


def test_the_end_is_reported_whatever_comes_before(pipeline: Compiled) -> None:
    assert pipeline.task("report-end")["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}


def test_a_mode_of_off_judges_nothing(pipeline: Compiled) -> None:
    conditions = [
        task["triggerPolicy"]["condition"]
        for dag in pipeline.dags()
        for task in dag["tasks"].values()
        if "condition" in task.get("triggerPolicy", {})
    ]
    assert "inputs.parameter_values['pipelinechannel--mode'] != 'off'" in conditions


def test_retraining_trains_only_for_a_reason_and_takes_a_drift_report(tmp_path: Path) -> None:
    pipeline = compiled(tmp_path, "retraining")
    conditions = [
        task["triggerPolicy"]["condition"]
        for dag in pipeline.dags()
        for task in dag["tasks"].values()
        if "condition" in task.get("triggerPolicy", {})
    ]
    assert "inputs.parameter_values['pipelinechannel--ask-why-Output'] != ''" in conditions
    drift = pipeline.spec["root"]["inputDefinitions"]["parameters"]["drift"]
    assert (drift["isOptional"], drift["defaultValue"], drift["parameterType"]) == (True, "", "STRING")


def test_a_file_that_is_there_is_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "training.yaml"
    file.write_text("older")
    assert compiled(tmp_path).text.startswith("# PIPELINE DEFINITION")
    assert [path.name for path in tmp_path.iterdir()] == ["training.yaml"]


# ---------------------------------------------------------------- the size of a run


def test_a_run_of_five_folds_is_one_that_kubeflow_can_read(pipeline: Compiled) -> None:
    params, policy = load_params(ROOT / "params.yaml"), read_policy(ROOT / "mlflow" / "promotion.yaml")
    repository = "https://git.example.org/radiology/films.git"
    arguments = training_arguments(params, policy, repository, "main", None, "asked for")
    text = arguments["params"]
    begun = {
        **arguments,
        "films": str(Films(f"{'0' * 32}.dir", "main", repository)),
        "kept_sides": "0" * 32,
        "drift": "",
        "status": "0" * 400,  # what Kubeflow says of the end
    }
    own = params_of_steps(text)
    begun |= {"given": f"0 {own['cross_validate']}", "folds": f"5 {own['cross_validate']}"}
    sizes = {
        name: status_of_task(pipeline, name, begun | {"params": own.get(name.replace("-", "_"), text)})
        for name in pipeline.executed()
    }
    assert max(sizes.values()) < 95_000, sizes
    assert sorted(sizes.values())[len(sizes) // 2] < 50_000, sizes
    sizes["cross-validate-fold"] *= FOLDS
    assert sum(sizes.values()) + status_of_graphs(pipeline, arguments) < LIMIT, sizes


# ---------------------------------------------------------------- the commands


def test_compile_writes_both_pipelines_with_what_params_yaml_asks_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = tmp_path / "params.yaml"
    params.write_text("resources: {secret: other, training: {memory: 31G}}\n")
    words = ["pipeline", "compile", "--image", IMAGE, "--commit", COMMIT, "--out", str(tmp_path / "out")]
    assert said_by([*words, "--params", str(params)], capsys).splitlines() == [
        str(tmp_path / "out" / f"{name}.yaml") for name in PIPELINES
    ]
    for name in PIPELINES:
        text = (tmp_path / "out" / f"{name}.yaml").read_text(encoding="utf-8")
        assert "secretName: other" in text
        assert "resourceMemoryLimit: 31G" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compile", "--image", "osteon:1.0"], "error: osteon:1.0: a tag can move"),
        (["run"], "give --local"),
        (["run", "--local", "--param", "training.epochz=3"], "error: --param: training.epochz: unknown key"),
    ],
)
def test_misuse_is_said_before_anything_is_done(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("params.yaml", "mlflow"):
        (tmp_path / name).symlink_to(GOLDEN.parents[1] / name)
    monkeypatch.chdir(tmp_path)
    assert message in said_by(["pipeline", *words], capsys, code=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow", "params.yaml"]


def said_by(words: list[str], capsys: pytest.CaptureFixture[str], code: int = 0) -> str:
    """What the command prints, in this process: kfp is loaded already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["osteon", *words])
        with pytest.raises(SystemExit) as ended:
            in_own_thread(main)
    assert ended.value.code == code
    captured = capsys.readouterr()
    return captured.out + captured.err
