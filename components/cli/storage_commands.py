"""`osteon storage`: DVC's remote on S3."""

from collections.abc import Iterable
from typing import Annotated

import typer

from osteon.errors import OsteonError
from osteon.remotes.finding import WRONG, Finding


def init_storage(
    url: Annotated[
        str | None, typer.Argument(metavar="s3://BUCKET/PREFIX", help="left out: the remote that DVC has")
    ] = None,
    endpoint_url: Annotated[
        str | None, typer.Option(metavar="URL", help="of an S3 server other than AWS, such as MinIO")
    ] = None,
) -> None:
    """Make the bucket or correct its settings, test it, and write it into .dvc/config; safe to repeat."""
    from osteon.remotes.bucket import init

    _print_findings(init(url, endpoint_url))


def check_storage() -> None:
    """Check DVC's remote, and change nothing."""
    from osteon.remotes.bucket import check

    _print_findings(check())


def _print_findings(findings: Iterable[Finding]) -> None:
    """Print each finding as it comes; an error at the end if one of them is in a wrong state."""
    wrong = 0
    for finding in findings:
        typer.echo(finding.line())
        wrong += finding.state in WRONG
    if wrong:
        what = "1 thing is not as it should be" if wrong == 1 else f"{wrong} things are not as they should be"
        raise OsteonError(f"{what}, marked ✗ above")
