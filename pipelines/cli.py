"""The command osteon with all its subcommands: those of components/cli, and `osteon pipeline`.

components know nothing of Kubeflow, so what joins the two is here. KFP takes more than a second to load: only the
commands that need it do.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from components.cli import commands
from components.promotion.policy import Mode, read_policy
from osteon.errors import OsteonError
from osteon.params import load_params
from pipelines.compiled import FOLDER

if TYPE_CHECKING:
    from pipelines.cluster import Cluster

TRAINING, RETRAINING = "osteon-training", "osteon-retraining"
POLICY = Path("mlflow/promotion.yaml")
FAILED = 4  # exit code

pipeline = typer.Typer(
    help="The pipeline on Kubeflow: start it, follow it, schedule it.\n\n"
    "The address of Kubeflow Pipelines is --host or OSTEON_KFP_HOST. Who we are is told by the file with a token that "
    "OSTEON_KFP_TOKEN_FILE names, or by a session cookie in OSTEON_KFP_COOKIE; inside a cluster the pod's own token "
    "is used. Arguments of runs are seen by everyone who sees the run: addresses with a password belong into the "
    "Kubernetes secret, as OSTEON_REPOSITORY, OSTEON_SEARCH_STORAGE and OSTEON_WEBHOOK. Exit code 2: misuse, or the "
    "cluster refuses; 4: the run failed; 1: a fault of Osteon.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
commands.app.add_typer(pipeline, name="pipeline")

Host = Annotated[
    str | None,
    typer.Option(metavar="URL", help="of Kubeflow Pipelines; left out: OSTEON_KFP_HOST", show_default=False),
]
Namespace = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="yours, where Kubeflow has several users", show_default=False),
]
Ca = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="certificates of your own CA", show_default=False),
]
Experiment = Annotated[str, typer.Option(metavar="NAME", help="of the runs")]
Values = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="KEY=VALUE", help="instead of that in the parameter file; again for more"),
]
Revision = Annotated[str, typer.Option(help="of the repository: branch, tag or commit")]
Repository = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="git's, whose DVC tracks the films; left out: this folder's origin, if it has no password; "
        "'': OSTEON_REPOSITORY of the Kubernetes secret",
        show_default=False,
    ),
]
PromotionMode = Annotated[
    Mode | None, typer.Option(help="of the promotion; left out: that of mlflow/promotion.yaml", show_default=False)
]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="its id", show_default=False)]


# ---------------------------------------------------------------- compile, and run here


@pipeline.command(name="compile")
def compile_pipelines(
    image: Annotated[
        str,
        typer.Option(metavar="NAME@sha256:…", help="that every step runs in, by its digest: a tag can move"),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="gets training.yaml and retraining.yaml")] = FOLDER,
    commit: Annotated[
        str, typer.Option(help="of the pipelines' code, kept with every run; left out: this folder's")
    ] = "",
    params: commands.ParamsFile = commands.PARAMS_FILE,
) -> None:
    """Write the pipelines as Kubeflow reads them.

    Image, commit and the section resources are compiled in; all other parameters are arguments of a run. The same
    input gives the same bytes.
    """
    from pipelines.compilation import PIPELINES, check_image, commit_of_pipelines, compile_pipeline

    check_image(image)
    resources, made_at = load_params(params).resources, commit or commit_of_pipelines()
    for name in PIPELINES:
        compile_pipeline(name, out / f"{name}.yaml", image, resources, made_at)
        typer.echo(out / f"{name}.yaml")


@pipeline.command(name="run")
def run_here(
    local: Annotated[bool, typer.Option("--local", help="on this machine; `submit` is for a cluster")] = False,
    runner: Annotated[
        Literal["subprocess", "docker"], typer.Option(help="a process or a container a task; docker is Podman too")
    ] = "subprocess",
    image: Annotated[str, typer.Option(help="of the containers; `make image` makes it")] = "osteon:cpu",
    out: Annotated[Path, typer.Option(metavar="DIR", help="gets all that comes of it")] = Path("build/rehearsal"),
    param: Values = None,
    params: commands.ParamsFile = commands.PARAMS_FILE,
) -> None:
    """Rehearse the training pipeline: the compiled one, on a few phantoms, in a few minutes.

    Films lie in a repository of their own and are fetched by their hash; DVC's remote, MLflow's store and all
    artefacts lie in DIR. Said again, it does only what has changed. Exit code 0: the pipeline came to its end,
    whatever was decided on its model; 2: a task failed, and which.
    """
    if not local:
        raise typer.BadParameter("give --local; on a cluster it is `osteon pipeline submit`")
    from components.cli.summary import print_summary
    from pipelines.arguments import with_values
    from pipelines.compilation import source_digest
    from pipelines.containers import find_image
    from pipelines.rehearsal import rehearse, with_few_films

    # What is asked for goes over what makes it short.
    values = with_values(with_few_films(load_params(params)), param or [])
    chosen = find_image(image) if runner == "docker" else source_digest()
    rehearse(out, values, read_policy(POLICY).model_dump_json(), runner, chosen, print_summary)


# ---------------------------------------------------------------- submit


@pipeline.command()
def submit(
    compiled: Annotated[
        Path, typer.Argument(metavar="PIPELINE_YAML", help="what `osteon pipeline compile` wrote")
    ] = FOLDER / "training.yaml",
    host: Host = None,
    namespace: Namespace = None,
    experiment: Experiment = "osteon",
    param: Values = None,
    revision: Revision = "main",
    repository: Repository = None,
    mode: PromotionMode = None,
    reason: Annotated[str, typer.Option(help="why; kept with the run")] = "asked for",
    wait: Annotated[bool, typer.Option("--wait", help="follow it to its end, a line for each step")] = False,
    ca: Ca = None,
    params: commands.ParamsFile = commands.PARAMS_FILE,
) -> None:
    """Start a training on the cluster.

    The compiled pipeline becomes a version of osteon-training, named after its content, unless it is there already.
    Parameters and rules are those of this folder's files, checked before anything is sent. With --wait, exit code 0:
    succeeded; 4: failed, with the failed step and the end of its log.
    """
    from pipelines.arguments import training_arguments, with_values
    from pipelines.compiled import check_arguments, read_compiled

    values = with_values(load_params(params), param or [])
    arguments = training_arguments(values, read_policy(POLICY), _repository(repository), revision, mode, reason)
    file = read_compiled(compiled)
    check_arguments(file, arguments)

    from pipelines import cluster as kfp

    cluster = kfp.connect(host, namespace, ca)
    version = kfp.upload(cluster, TRAINING, file)
    run_id = kfp.start(cluster, version, kfp.experiment_of(cluster, experiment, make=True), arguments)
    typer.echo(f"pipeline  {TRAINING}, version {version.name}" + (" (new)" if version.new else ""))
    typer.echo(f"run       {run_id}")
    typer.echo(f"page      {cluster.page(run_id)}")
    if wait:
        _wait(cluster, run_id)


def _repository(given: str | None) -> str:
    from pipelines.arguments import origin

    return origin(Path()) if given is None else given


def _wait(cluster: "Cluster", run_id: str) -> None:
    from pipelines.following import failure, follow, run_line

    try:
        run = follow(cluster, run_id, typer.echo)
    except KeyboardInterrupt:
        typer.echo(f"the run goes on: `osteon pipeline status {run_id}`", err=True)
        raise
    except OsteonError as error:
        raise OsteonError(f"{error}; the run goes on: `osteon pipeline status {run_id}`") from None
    typer.echo(run_line(run))
    if run.state != "SUCCEEDED":
        for line in failure(cluster, run):
            typer.echo(line)
        raise typer.Exit(FAILED)


# ---------------------------------------------------------------- schedule


@pipeline.command()
def schedule(
    compiled: Annotated[
        Path, typer.Argument(metavar="PIPELINE_YAML", help="what `osteon pipeline compile` wrote")
    ] = FOLDER / "retraining.yaml",
    cron: Annotated[
        str,
        typer.Option(
            metavar="'M H D M W'", help="minute, hour, day, month, weekday, UTC: '0 3 * * 1'", show_default=False
        ),
    ] = "",
    pause: Annotated[bool, typer.Option("--pause", help="begin no more runs; --cron alone goes on")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="remove it; its runs stay")] = False,
    name: Annotated[str, typer.Option(help="of the schedule")] = RETRAINING,
    host: Host = None,
    namespace: Namespace = None,
    experiment: Experiment = "osteon",
    param: Values = None,
    revision: Revision = "main",
    repository: Repository = None,
    mode: PromotionMode = None,
    ca: Ca = None,
    params: commands.ParamsFile = commands.PARAMS_FILE,
) -> None:
    """Run the retraining again and again; said once more, it replaces the schedule of that name.

    Runs never overlap, and those that were missed are left out. Each takes the newest version of osteon-retraining,
    with the parameters and rules of today's files.
    """
    if (delete and (cron or pause)) or not (cron or pause or delete):
        raise typer.BadParameter("give --cron (and --pause, if you like), or --pause, or --delete")

    from pipelines import cluster as kfp
    from pipelines import schedules
    from pipelines.arguments import retraining_arguments, with_values
    from pipelines.compiled import check_arguments, read_compiled

    if not cron:
        there = kfp.connect(host, namespace, ca)
        (schedules.delete if delete else schedules.pause)(there, name)
        typer.echo(f"{name}: deleted" if delete else f"{name}: paused; --cron makes it anew")
        return

    checked = schedules.read_cron(cron)
    values = with_values(load_params(params), param or [])
    arguments = retraining_arguments(values, read_policy(POLICY), _repository(repository), revision, mode)
    file = read_compiled(compiled)
    check_arguments(file, arguments)

    cluster = kfp.connect(host, namespace, ca)
    version = kfp.upload(cluster, RETRAINING, file)
    experiment_id = kfp.experiment_of(cluster, experiment, make=True)
    earlier = schedules.replace(cluster, name, version, experiment_id, checked, arguments, paused=pause)
    typer.echo(f"{name}: {'replaced' if earlier else 'made'}{', paused' if pause else ''}")
    newest = version.name if version.new else kfp.newest_version(cluster, version)
    typer.echo(f"pipeline  {RETRAINING}, version {newest} or, once there is one, a newer")
    if newest != version.name:
        typer.echo(f"warning: {compiled} is version {version.name}, which is older and not run", err=True)
    if not pause:
        times = ", ".join(f"{time:%Y-%m-%d %H:%M}" for time in schedules.next_times(checked))
        typer.echo(f"next      {times} UTC")


@pipeline.command(name="schedules")
def list_schedules(host: Host = None, namespace: Namespace = None, ca: Ca = None) -> None:
    """List the schedules: when, whether they are active, and the next time."""
    from pipelines.cluster import connect
    from pipelines.schedules import listed

    found = listed(connect(host, namespace, ca))
    _table(("schedule", "cron", "state", "next"), found, "no schedule; `osteon pipeline schedule --cron …` makes one")


# ---------------------------------------------------------------- look


@pipeline.command()
def status(
    run: Annotated[str, typer.Argument(metavar="RUN", help="left out: the last ten runs", show_default=False)] = "",
    host: Host = None,
    namespace: Namespace = None,
    experiment: Experiment = "osteon",
    ca: Ca = None,
) -> None:
    """Say how a run is, step by step, or list the last ten."""
    from pipelines import cluster as kfp
    from pipelines.following import run_line, steps_of

    cluster = kfp.connect(host, namespace, ca)
    if not run:
        runs = kfp.last_runs(cluster, kfp.experiment_of(cluster, experiment, make=False))
        rows = [(one.run_id, f"{one.created_at:%Y-%m-%d %H:%M}", one.display_name, run_line(one)) for one in runs]
        _table(("run", "begun, UTC", "name", "state"), rows, "no run yet; `osteon pipeline submit` starts one")
        return
    found = kfp.get_run(cluster, run)
    typer.echo(f"run    {run}  {found.display_name}")
    typer.echo(f"page   {cluster.page(run)}")
    typer.echo(f"state  {run_line(found)}\n")
    steps = [(one.name, f"{one.started:%H:%M:%S}" if one.started else "", one.line()) for one in steps_of(found)]
    _table(("step", "begun, UTC", "state"), steps, "no step yet")


@pipeline.command()
def logs(
    run: RunId,
    step: Annotated[
        str, typer.Argument(metavar="STEP", help="left out: what failed, else all", show_default=False)
    ] = "",
    host: Host = None,
    namespace: Namespace = None,
    ca: Ca = None,
) -> None:
    """Print what a run's steps have written."""
    from pipelines.cluster import connect
    from pipelines.following import logs

    logs(connect(host, namespace, ca), run, step or None, typer.echo)


@pipeline.command()
def diff(
    first: RunId,
    second: RunId,
    host: Host = None,
    namespace: Namespace = None,
    ca: Ca = None,
) -> None:
    """Say what two runs have otherwise: version, parameters, rules, films and figures, these from MLflow."""
    from pipelines.cluster import connect
    from pipelines.comparison import compare

    found = compare(connect(host, namespace, ca), first, second)
    if found.different:
        _table(("", first[:8], second[:8]), found.different, "")
    typer.echo(
        f"{found.same} other values are the same" if found.different else f"all {found.same} values are the same"
    )
    for note in found.notes:
        typer.echo(f"note: {note}", err=True)


def _table(header: tuple[str, ...], rows: Any, none: str) -> None:
    """Columns as wide as what is in them: ids are to be copied, so nothing is cut or wrapped."""
    if not rows:
        typer.echo(none)
        return
    texts = [tuple(str(cell) for cell in row) for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for text in texts:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(text, widths, strict=True)).rstrip())


def main() -> None:
    """Run the command; errors as components.cli.commands.main has them."""
    commands.main()


if __name__ == "__main__":
    main()
