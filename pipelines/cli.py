"""The command osteon with all its subcommands: those of components/cli, and `osteon pipeline`.

The components know nothing of Kubeflow, so the two are joined here. KFP takes seconds to load: a command that needs it
imports it.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from components.cli import commands
from components.promotion.policy import Mode

COMPILED = Path("pipelines/compiled")
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
    out: Annotated[Path, typer.Option(metavar="DIR", help="gets training.yaml and retraining.yaml")] = COMPILED,
    commit: Annotated[
        str, typer.Option(help="of the pipelines' code, kept with every run; left out: this folder's")
    ] = "",
    params: commands.ParamsFile = commands.PARAMS_FILE,
) -> None:
    """Write the pipelines as Kubeflow reads them.

    Image, commit and the section resources are compiled in; all other parameters are arguments of a run. The same
    input gives the same bytes.
    """
    from pipelines.compilation import compile_all

    for file in compile_all(out, image, params, commit):
        typer.echo(file)


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
    artefacts lie in DIR. Run again, it does only what has changed. Exit code 0: the pipeline came to its end,
    whatever was decided on its model; 2: a task failed, and which.
    """
    if not local:
        raise typer.BadParameter("give --local; on a cluster it is `osteon pipeline submit`")
    from pipelines.rehearsal import rehearse_here

    rehearse_here(out, params, param or [], runner, image)


# ---------------------------------------------------------------- submit


@pipeline.command()
def submit(
    compiled: Annotated[
        Path, typer.Argument(metavar="PIPELINE_YAML", help="what `osteon pipeline compile` wrote")
    ] = COMPILED / "training.yaml",
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
    from pipelines.cluster_commands import RunRequest, Server, submit_run

    request = RunRequest(compiled, params, param or [], repository, revision, mode, experiment)
    if not submit_run(Server(host, namespace, ca), request, reason, wait=wait):
        raise typer.Exit(FAILED)


# ---------------------------------------------------------------- schedule


@pipeline.command()
def schedule(
    compiled: Annotated[
        Path, typer.Argument(metavar="PIPELINE_YAML", help="what `osteon pipeline compile` wrote")
    ] = COMPILED / "retraining.yaml",
    cron: Annotated[
        str,
        typer.Option(
            metavar="'M H D M W'", help="minute, hour, day, month, weekday, UTC: '0 3 * * 1'", show_default=False
        ),
    ] = "",
    pause: Annotated[bool, typer.Option("--pause", help="begin no more runs; --cron alone goes on")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="remove it; its runs stay")] = False,
    name: Annotated[str, typer.Option(help="of the schedule")] = "osteon-retraining",
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
    """Run the retraining again and again; a second call replaces the schedule of that name.

    Runs never overlap, and those that were missed are left out. Each takes the newest version of osteon-retraining,
    with the parameters and rules of today's files.
    """
    if (delete and (cron or pause)) or not (cron or pause or delete):
        raise typer.BadParameter("give --cron (and --pause, if you like), or --pause, or --delete")

    from pipelines.cluster_commands import RunRequest, Server, set_schedule, stop_schedule

    server = Server(host, namespace, ca)
    if not cron:
        stop_schedule(server, name, delete=delete)
        return
    request = RunRequest(compiled, params, param or [], repository, revision, mode, experiment)
    set_schedule(server, request, name, cron, paused=pause)


@pipeline.command(name="schedules")
def list_schedules(host: Host = None, namespace: Namespace = None, ca: Ca = None) -> None:
    """List the schedules: when, whether they are active, and the next time."""
    from pipelines.cluster_commands import Server, print_schedules

    print_schedules(Server(host, namespace, ca))


# ---------------------------------------------------------------- look


@pipeline.command()
def status(
    run: Annotated[str, typer.Argument(metavar="RUN", help="left out: the last ten runs", show_default=False)] = "",
    host: Host = None,
    namespace: Namespace = None,
    experiment: Experiment = "osteon",
    ca: Ca = None,
) -> None:
    """Print the state of a run, step by step, or list the last ten."""
    from pipelines.cluster_commands import Server, print_runs, print_status

    server = Server(host, namespace, ca)
    if run:
        print_status(server, run)
    else:
        print_runs(server, experiment)


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
    """Print the output of a run's steps."""
    from pipelines.cluster_commands import Server, print_run_logs

    print_run_logs(Server(host, namespace, ca), run, step)


@pipeline.command()
def diff(
    first: RunId,
    second: RunId,
    host: Host = None,
    namespace: Namespace = None,
    ca: Ca = None,
) -> None:
    """Print what differs between two runs: version, parameters, rules, films and figures, these from MLflow."""
    from pipelines.cluster_commands import Server, print_diff

    print_diff(Server(host, namespace, ca), first, second)


def main() -> None:
    """Run the command; errors as components.cli.commands.main has them."""
    commands.main()


if __name__ == "__main__":
    main()
