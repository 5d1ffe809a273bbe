"""`osteon lineage --film` and `--films`: the models that saw a film, and the films that a model saw."""

import json
import sys
from typing import Any

from rich.console import Console

from osteon.records.film_lineage import UNLISTED, films_of, models_that_saw

ROLES = {"train": "trained on it", "validation": "chosen by it", "test": "measured on it", "external": "tested on it"}


def print_film(film: str, as_json: bool) -> None:
    """The models that saw a film."""
    seen_by = models_that_saw(film)
    if as_json:
        print(json.dumps(_film_as_json(film, seen_by), indent=2, default=str))  # noqa: T201 – the command's output
        return
    console = Console()

    def print_line(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True, markup=False)

    for name, sha256, md5 in seen_by.contents:
        print_line(f"film    {name}")
        if sha256:
            print_line(f"sha256  {sha256}")
            print_line(f"md5     {md5}")
    for model, role in seen_by.seen:
        names = f"  {', '.join(model.registered)}" if model.registered else ""
        print_line(f"{model.model_id}  {ROLES[role]:<14}  made {model.made:%Y-%m-%d %H:%M} UTC{names}")
    count, listed = len({model.model_id for model, _ in seen_by.seen}), seen_by.models - len(seen_by.unknown)
    if count:
        print_line(f"{count} of {listed} models saw it")
    else:
        print_line(f"no model of this store saw {film}, of {listed} that keep a list")
    for model in seen_by.unknown:
        print_line(f"unknown {model.model_id}, made {model.made:%Y-%m-%d}: no list of films is with it; {UNLISTED}")


def _film_as_json(film: str, seen_by: Any) -> dict[str, Any]:
    def as_json(model: Any) -> dict[str, Any]:
        return {
            "model": model.model_id,
            "run": model.run_id,
            "registered": list(model.registered),
            "made": model.made.isoformat(),
            "data": model.data,
        }

    return {
        "asked": film,
        "films": [dict(zip(("film_id", "sha256", "md5"), content, strict=True)) for content in seen_by.contents],
        "seen": [{**as_json(model), "role": role} for model, role in seen_by.seen],
        "unknown": [as_json(model) for model in seen_by.unknown],
        "models": seen_by.models,
    }


def print_films(what: str, as_json: bool) -> None:
    """The films behind a model and those it was measured on, as CSV or JSON."""
    films = films_of(what)
    if as_json:
        print(json.dumps(films.to_dict("records"), indent=2))  # noqa: T201 – the command's output
    else:
        films.to_csv(sys.stdout, index=False, lineterminator="\n")
