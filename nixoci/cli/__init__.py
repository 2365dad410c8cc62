"""The command `nixoci`: one module per family of verbs, each a thin layer over the library.

Exit codes: 0 done; 1 the work failed, one line `error: ...` on stderr; 2 wrong usage.
"""

import logging
import sys
from collections.abc import Sequence

import click

from nixoci.cli.common import failures_in_one_line
from nixoci.cli.extract import extract
from nixoci.cli.fetch import fetch_blob
from nixoci.cli.generate import generate
from nixoci.cli.image_store import image_store
from nixoci.cli.units import bundle, units


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="nixoci")
@click.option("-v", "--verbose", is_flag=True, help="Say on stderr which programs are run.")
def cli(verbose: bool) -> None:  # noqa: FBT001 - click passes options by name
    """OCI container images as Nix store paths that podman, crun and systemd run in place."""
    if verbose:
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr, format="%(message)s")


for _command in (bundle, extract, fetch_blob, generate, image_store, units):
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line, by default that of this process, and exit."""
    with failures_in_one_line():
        cli.main(args=arguments, prog_name="nixoci", standalone_mode=True)
