"""`osteon test`: a model on any labelled folder."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from components.cli.options import PARAMS_FILE, ParamsFile
from osteon.errors import OsteonError
from osteon.params import layout_names, load_params


def external_test(
    model: Annotated[
        str, typer.Option(help="models:/osteon-fracture@champion, models:/NAME/VERSION, runs:/RUN/model or a folder")
    ],
    root: Annotated[Path, typer.Option(help="folder of labelled films, of another hospital, say")],
    layout: Annotated[
        str,
        typer.Option(metavar="NAME", help=f"of the folder: {', '.join(layout_names())}; left out: data.layout"),
    ] = "",
    report: Annotated[Path, typer.Option(metavar="DIR", help="writes: figures, tables and report.html")] = Path(
        "reports/external_test"
    ),
    trusted: Annotated[Path, typer.Option(help="manifest of the films that the model was trained on")] = Path(
        "data/trusted.parquet"
    ),
    films: Annotated[
        Path | None,
        typer.Option(help="folder of the films that the model was trained on; left out: data.root", show_default=False),
    ] = None,
    same_patients: Annotated[
        bool, typer.Option("--same-patients", help="an id means the same patient in both sets: take these out")
    ] = False,
    recalibrate: Annotated[
        int,
        typer.Option(metavar="N", help="set calibration and operating points anew on N of the films; needs --why"),
    ] = 0,
    why: Annotated[str, typer.Option(help="the reason of --recalibrate, kept in the new version's lineage")] = "",
    params: ParamsFile = PARAMS_FILE,
) -> None:
    """Test a model on other people's films: any labelled folder.

    The folder is read and checked as by ingest and validate, with the model's own limits for films. Films that the
    model was trained or tested on, and copies of them, are taken out and counted. The report has what evaluate's has,
    and whether the guarantees of the operating points hold here, how many films the model refuses as unlike its own,
    and how all this differs from its own test. data.classes, data.columns and so on come from the parameter file.

    With --recalibrate N the model gets calibration and operating points anew, from N films in whole groups, drawn by a
    keyed hash; they have no part in any figure. It becomes a version of osteon-fracture, and its package lies in
    DIR-model. osteon promote --model judges it.

    Exit code 0: tested; 3: the films are not fit to test this model on; 2: misuse; 1: a fault of Osteon.
    """
    if layout and layout not in layout_names():
        raise typer.BadParameter(f"no layout {layout}; there are {', '.join(layout_names())}", param_hint="--layout")
    loaded = load_params(params)
    if not root.is_dir():
        raise OsteonError(f"{root}: no such folder; --root names the folder of films")
    data = loaded.data.model_copy(update={"root": str(root), **({"layout": layout} if layout else {})})

    if bool(recalibrate) != bool(why.strip()) or recalibrate < 0:
        raise OsteonError('--recalibrate N and its reason, --why "…", go together; give both, or none')

    from components.external_test.registration import register_recalibrated
    from components.external_test.step import external_test as test_step
    from components.external_test.step import recalibrate as recalibration_step
    from osteon.contract import describe
    from osteon.records.model_packages import fetch_package
    from osteon.records.runs import run_step

    options = {"trusted": str(trusted), "films": str(films or loaded.data.root), "same_patients": same_patients}
    step, settings = describe(test_step), loaded.model_copy(update={"data": data})
    with TemporaryDirectory() as temporary:
        paths = {"model": fetch_package(model, Path(temporary)), "root": root, "report": report}
        if recalibrate:
            step, options = describe(recalibration_step), options | {"set_on": recalibrate, "why": why.strip()}
            paths["recalibrated"] = report.with_name(f"{report.name}-model")
        summary = run_step(step, paths, settings, options=options)
    typer.echo(f"test: {summary.line()}")
    typer.echo(f"report  {report / 'report.html'}")
    if recalibrate:
        version = register_recalibrated(paths["recalibrated"], model, summary)
        typer.echo(f"model   {paths['recalibrated']}, version {version} of osteon-fracture")
