"""The command `nixoci`: one module for each family of verbs, a thin layer over the library.

Exit codes: 0 done; 1 the work failed, one line `error: ...` on stderr; 2 wrong usage; 143 ended by SIGTERM. A file that
is missing is a failure of the work: the same command succeeds once it is there.
"""

import atexit
import gc
import logging
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from types import FrameType

import click

from nixoci.cli.common import failures_in_one_line, finish_output

VERBS = {
    "add": ("lock", "add"),
    "bundle": ("units", "bundle"),
    "completion": ("completion", "completion"),
    "copy": ("send", "copy"),
    "doctor": ("doctor", "doctor"),
    "extract": ("extract", "extract"),
    "fetch-blob": ("fetch", "fetch_blob"),
    "gc-roots": ("gc_roots", "gc_roots"),
    "generate": ("generate", "generate"),
    "image-store": ("image_store", "image_store"),
    "list": ("lock", "list_images"),
    "module": ("generate", "module"),
    "outdated": ("lock", "outdated"),
    "prefetch": ("prefetch", "prefetch"),
    "receive": ("receive", "receive"),
    "remove": ("lock", "remove"),
    "send": ("send", "send"),
    "show": ("show", "show"),
    "units": ("units", "units"),
    "update": ("lock", "update"),
    "verify": ("lock", "verify"),
}
"""The module below `nixoci.cli` and the function of each verb."""


class Verbs(click.Group):
    """The verbs. Each is imported when it is used: builds run the command often, and one verb needs little of it."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of the verbs."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Return a verb."""
        if cmd_name not in VERBS:
            return None
        module, function = VERBS[cmd_name]
        command: click.Command = getattr(import_module(f"nixoci.cli.{module}"), function)
        return command


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="nixoci")
@click.option("-v", "--verbose", is_flag=True, help="Log the programs that are run to stderr.")
def cli(verbose: bool) -> None:  # noqa: FBT001 - click passes options by name
    """OCI container images as Nix store paths that podman, crun and systemd run in place."""
    if verbose:
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr, format="%(message)s")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line, by default that of this process, and exit."""
    atexit.register(gc.freeze)  # skips the garbage collection of all modules at exit
    with suppress(ValueError):  # only the main thread may
        signal.signal(signal.SIGTERM, _end)
    code: int | str | None = 0
    try:
        with failures_in_one_line():
            cli.main(args=arguments, prog_name="nixoci", standalone_mode=True)
    except SystemExit as end:
        code = end.code
    try:
        finish_output()
    except OSError:
        if not code:
            with failures_in_one_line():
                raise
    sys.exit(code)


def _end(number: int, _: FrameType | None) -> None:
    """End as after Ctrl-C: what is half-written is removed on the way out."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)
