"""A step's report as one self-contained page: no script, no font, no picture from anywhere else."""

from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from osteon.redaction import redact
from osteon.statistics.estimate import shown


def render_page(package: str, template: str = "report.html.j2", **values: Any) -> str:
    """HTML text of a step's template, which extends the page.html.j2 of this folder.

    Args:
        package: of the step, where its template is.
        template: its name there.
        values: what the template names; text in them is redacted and escaped.

    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), PackageLoader("osteon.pages", ".")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=redact_shown,
    )
    environment.filters["shown"] = shown
    return environment.get_template(template).render(**values)


def redact_shown(value: Any) -> Any:
    """What a template shows, redacted; what is HTML already was made of values that were."""
    return value if isinstance(value, Markup) else redact(value)
