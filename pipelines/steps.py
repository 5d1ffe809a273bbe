"""The components of Kubeflow, one for each of component_functions."""

import re
from collections.abc import Callable
from typing import Any

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from pipelines import component_functions as functions

IMAGE = "osteon"  # until a task is given its own, which has a digest


def component(function: Callable[..., Any]) -> BaseComponent:
    """A component whose container imports the function from its image.

    kfp puts the function's source into the command, and Kubeflow keeps the command of every task eight times.
    """
    made: BaseComponent = dsl.component(function, base_image=IMAGE, install_kfp_package=False)
    # kfp's own layout has rows of spaces.
    *command, _ = (re.sub(" +", " ", word) for word in made.component_spec.implementation.container.command)
    source = f"from {function.__module__} import {function.__name__}\n"
    made.component_spec.implementation.container.command = [*command, source]
    return made


find_films = component(functions.find_films)
share_folds = component(functions.share_folds)
ingest = component(functions.ingest)
validate = component(functions.validate)
prepare = component(functions.prepare)
augment = component(functions.augment)
features = component(functions.features)
search = component(functions.search)
join_search = component(functions.join_search)
cross_validate_fold = component(functions.cross_validate_fold)
cross_validate = component(functions.cross_validate)
train = component(functions.train)
evaluate = component(functions.evaluate)
promote = component(functions.promote)
report_end = component(functions.report_end)
ask_why = component(functions.ask_why)
