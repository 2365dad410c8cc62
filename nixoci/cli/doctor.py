"""`nixoci doctor`: examine this machine."""

import click

from nixoci.cli.common import counted, json_option, print_json
from nixoci.cli.table import print_table
from nixoci.cli.verb import verb
from nixoci.doctor.examine import examine
from nixoci.doctor.finding import Status
from nixoci.doctor.gather import gather
from nixoci.errors import NixociError


@verb(
    examples=[
        "nixoci doctor",
        "nixoci doctor --podman /usr/local/bin/podman",
        "nixoci doctor --json",
    ],
)
@click.option("--podman", default="podman", show_default=True, metavar="PROGRAM", help="The podman to examine.")
@json_option
def doctor(*, podman: str, as_json: bool) -> None:
    """Examine this machine: programs, podman's configuration, image stores, garbage collector roots.

    As root it examines root's podman, as another user the rootless podman of that user. Nothing is changed. The exit
    code is 1 if there is a problem; warnings leave it at 0.
    """
    findings = examine(gather(podman))
    if as_json:
        print_json(findings)
    else:
        rows = [
            [each.status.value, each.check, f"{each.found}; {each.advice}" if each.advice else each.found]
            for each in findings
        ]
        print_table(["status", "check", "found, and what to do"], rows, prose=True)
    problems = [each for each in findings if each.status is Status.PROBLEM]
    if problems:
        raise NixociError(f"{counted(len(problems), 'problem')} found; each line says what to do")
