"""The pipelines as Kubeflow reads them: one YAML file each, the same bytes for the same input."""

import hashlib
import warnings
from collections.abc import Iterator
from pathlib import Path

from kfp import compiler

from osteon.environment import present_commit
from osteon.errors import OsteonError
from osteon.files import atomic_file
from osteon.params import ResourceParams, load_params
from pipelines.compiled_file import DIGEST
from pipelines.retraining import retraining_pipeline
from pipelines.training import Placed, training_pipeline

PIPELINES = ("training", "retraining")


def check_image(image: str) -> str:
    """An image by its digest.

    Raises:
        OsteonError: it is named by a tag, or not at all.

    """
    if DIGEST.fullmatch(image):
        return image
    fault = f"{image}: a tag can move, and Kubeflow's cache would not notice" if image else "no image is named"
    raise OsteonError(
        f"{fault}; give NAME@sha256:…, which `docker push` prints at its end (`docker inspect` has it in RepoDigests)"
    )


def compile_all(folder: Path, image: str, params: Path, commit: str) -> Iterator[Path]:
    """Write each pipeline into a folder; yields each file when it is written.

    Args:
        folder: gets NAME.yaml of each of PIPELINES.
        image: that its steps run in, by its digest.
        params: the parameter file; its section resources is compiled in.
        commit: of this code; empty: that of this folder.

    Raises:
        OsteonError: the image is named by a tag, or params.yaml is not valid.

    """
    check_image(image)
    resources, commit = load_params(params).resources, commit or commit_of_pipelines()
    for name in PIPELINES:
        compile_pipeline(name, folder / f"{name}.yaml", image, resources, commit)
        yield folder / f"{name}.yaml"


def compile_pipeline(name: str, out: Path, image: str, resources: ResourceParams, commit: str) -> None:
    """Write a pipeline.

    Args:
        name: one of PIPELINES.
        out: the file.
        image: that its steps run in, by its digest or its id.
        resources: section of params.yaml.
        commit: of this code.

    """
    made = {"training": training_pipeline, "retraining": retraining_pipeline}[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = made(Placed(image, commit, resources))
        with atomic_file(out) as partial:
            written = partial.with_name(f"{partial.name}.yaml")  # kfp looks at the name's end
            compiler.Compiler().compile(pipeline, str(written))
            written.replace(partial)


def source_digest() -> str:
    """SHA-256 of the code that steps run, which stands for an image where there is none."""
    root = Path(__file__).parents[1]
    hashed = hashlib.sha256()
    patterns = (
        "osteon/**/*.py",
        "osteon/**/*.j2",
        "components/**/*.py",
        "components/**/*.j2",
        "components/**/*.yaml",
        "mlflow/*.j2",
        "pipelines/component_functions.py",
    )
    for file in sorted(file for pattern in patterns for file in root.glob(pattern)):
        hashed.update(f"{file.relative_to(root)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return f"python-of-this-folder@sha256:{hashed.hexdigest()}"


def commit_of_pipelines() -> str:
    """The commit that this folder is at, with '+' where something was changed; 'unknown' where git knows none."""
    commit, dirty = present_commit()
    return commit + ("+" if dirty == "true" else "")
