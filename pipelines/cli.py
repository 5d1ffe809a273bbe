"""The command osteon with all its subcommands: those of components/cli, and `osteon pipeline`.

The components know nothing of Kubeflow, so the two are joined here. KFP takes seconds to load: a command that needs it
imports it.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from components.cli.main import app
from components.cli.main import main as run_command
from components.cli.options import PARAMS_FILE, ParamsFile
from components.promotion.policy import Mode

COMPILED = Path("pipelines/compiled")
FAILED = 4  # exit code

pipeline = typer.Typer(
    help="The pipeline on Kubeflow: start it, follow it, schedule it.\n\n"
    "Give the address of Kubeflow Pipelines as --host or OSTEON_KFP_HOST. To log in, set OSTEON_KFP_TOKEN_FILE to a "
    "token file, or OSTEON_KFP_COOKIE to a session cookie; inside a cluster the pod's own token is used. Everyone "
    "who sees a run sees its arguments: put addresses with a password into the Kubernetes secret, as "
    "OSTEON_REPOSITORY, OSTEON_SEARCH_STORAGE and OSTEON_WEBHOOK. Exit code 2: misuse, or the cluster refuses; "
    "4: the run failed; 1: a fault of Osteon.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(pipeline, name="pipeline")

Host = Annotated[
    str | None,
    typer.Option(metavar="URL", help="address of Kubeflow Pipelines; left out: OSTEON_KFP_HOST", show_default=False),
]
Namespace = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="your namespace, if Kubeflow has several users", show_default=False),
]
Ca = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="certificate file of your own CA", show_default=False),
]
Experiment = Annotated[str, typer.Option(metavar="NAME", help="of the runs")]
Values = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="KEY=VALUE", help="replaces a value of the parameter file; may be repeated"),
]
Revision = Annotated[str, typer.Option(help="branch, tag or commit of the films' repository")]
Repository = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="git repository whose DVC tracks the films; left out: this folder's origin, if it has no password; "
        "'': OSTEON_REPOSITORY of the Kubernetes secret",
        show_default=False,
    ),
]
PromotionMode = Annotated[
    Mode | None, typer.Option(help="mode of the promotion; left out: as in mlflow/promotion.yaml", show_default=False)
]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="id of a run", show_default=False)]


# ---------------------------------------------------------------- compile, and run here


@pipeline.command(name="compile")
def compile_pipelines(
    image: Annotated[
        str,
        typer.Option(metavar="NAME@sha256:…", help="image of every step, by its digest, because a tag can move"),
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="output folder for training.yaml and retraining.yaml")
    ] = COMPILED,
    commit: Annotated[
        str, typer.Option(help="commit of the pipelines' code, kept with every run; left out: this folder's")
    ] = "",
    params: ParamsFile = PARAMS_FILE,
) -> None:
    """Compile the pipelines into files for Kubeflow.

    Image, commit and the section resources are compiled in; all other parameters are arguments of a run. The same
    input gives the same bytes.
    """
    from pipelines.compilation import compile_all

    for file in compile_all(out, image, params, commit):
        typer.echo(file)


@pipeline.command(name="run")
def run_here(
    local: Annotated[bool, typer.Option("--local", help="run on this machine; for a cluster use `submit`")] = False,
    runner: Annotated[
        Literal["subprocess", "docker"],
        typer.Option(help="a process or a container for each task; docker may be Podman"),
    ] = "subprocess",
    image: Annotated[str, typer.Option(help="image of the containers; `make image` builds it")] = "osteon:cpu",
    out: Annotated[Path, typer.Option(metavar="DIR", help="output folder")] = Path("build/rehearsal"),
    param: Values = None,
    params: ParamsFile = PARAMS_FILE,
) -> None:
    """Rehearse the compiled training pipeline on a few phantoms, in a few minutes.

    The films are in a repository of their own and are fetched by their hash; DVC's remote, MLflow's store and all
    artefacts are in DIR. Run it again, and it does only what has changed. Exit code 0: the pipeline ended,
    whatever the decision on its model; 2: a task failed, and which.
    """
    if not local:
        raise typer.BadParameter("give --local; on a cluster it is `osteon pipeline submit`")
    from pipelines.rehearsal import rehearse_here

    rehearse_here(out, params, param or [], runner, image)


# ---------------------------------------------------------------- submit


@pipeline.command()
def submit(
    compiled: Annotated[
        Path, typer.Argument(metavar="PIPELINE_YAML", help="a file of `osteon pipeline compile`")
    ] = COMPILED / "training.yaml",
    host: Host = None,
    namespace: Namespace = None,
    experiment: Experiment = "osteon",
    param: Values = None,
    revision: Revision = "main",
    repository: Repository = None,
    mode: PromotionMode = None,
    reason: Annotated[str, typer.Option(help="the reason, kept with the run")] = "asked for",
    wait: Annotated[bool, typer.Option("--wait", help="follow the run to its end, a line for each step")] = False,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="run every step, also those whose result Kubeflow has")
    ] = False,
    ca: Ca = None,
    params: ParamsFile = PARAMS_FILE,
) -> None:
    """Start a training on the cluster.

    The compiled pipeline becomes a version of osteon-training, named after its content, unless that exists already.
    Parameters and rules come from this folder's files and are checked before anything is sent. With --wait, exit code
    0: succeeded; 4: failed, with the failed step and the end of its log.
    """
    from pipelines.cluster_commands import RunRequest, Server, submit_run

    request = RunRequest(compiled, params, param or [], repository, revision, mode, experiment)
    if not submit_run(Server(host, namespace, ca), request, reason, wait=wait, cached=not no_cache):
        raise typer.Exit(FAILED)


@pipeline.command()
def cancel(run: RunId, host: Host = None, namespace: Namespace = None, ca: Ca = None) -> None:
    """End a run before its end."""
    from pipelines.cluster_commands import Server, cancel_run

    cancel_run(Server(host, namespace, ca), run)


@pipeline.command()
def retry(run: RunId, host: Host = None, namespace: Namespace = None, ca: Ca = None) -> None:
    """Let a failed or canceled run go on: steps that succeeded stay as they are.

    It takes the same image, parameters and films; for others `submit` starts a new run.
    """
    from pipelines.cluster_commands import Server, retry_run

    retry_run(Server(host, namespace, ca), run)


# ---------------------------------------------------------------- schedule


@pipeline.command()
def schedule(
    compiled: Annotated[
        Path, typer.Argument(metavar="PIPELINE_YAML", help="a file of `osteon pipeline compile`")
    ] = COMPILED / "retraining.yaml",
    cron: Annotated[
        str,
        typer.Option(
            metavar="'M H D M W'", help="minute, hour, day, month, weekday, UTC: '0 3 * * 1'", show_default=False
        ),
    ] = "",
    pause: Annotated[bool, typer.Option("--pause", help="start no more runs; --cron alone starts them again")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="delete the schedule; its runs stay")] = False,
    name: Annotated[str, typer.Option(help="name of the schedule")] = "osteon-retraining",
    host: Host = None,
    namespace: Namespace = None,
    experiment: Experiment = "osteon",
    param: Values = None,
    revision: Revision = "main",
    repository: Repository = None,
    mode: PromotionMode = None,
    ca: Ca = None,
    params: ParamsFile = PARAMS_FILE,
) -> None:
    """Schedule the retraining; a second call replaces the schedule of that name.

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
    """List the schedules with their times, states and next runs."""
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
        str, typer.Argument(metavar="STEP", help="left out: the failed steps, else all", show_default=False)
    ] = "",
    host: Host = None,
    namespace: Namespace = None,
    ca: Ca = None,
) -> None:
    """Print the logs of a run's steps."""
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
    """Print how two runs differ: version, parameters, rules, films and figures."""
    from pipelines.cluster_commands import Server, print_diff

    print_diff(Server(host, namespace, ca), first, second)


def main() -> None:
    """Run the command; errors as components.cli.main.main has them."""
    run_command()


if __name__ == "__main__":
    main()
