"""The command `nixoci`: one module for each family of verbs, a thin layer over the library.

Exit codes: 0 done; 1 the work failed; 2 wrong usage; 129 ended by SIGHUP, as when the terminal closes; 130 ended by
Ctrl-C; 143 ended by SIGTERM. A failure is one line `error: ...` on stderr. Usage is wrong if the command line alone
shows it: an unknown option, a missing argument, a number that no limit can be. Anything about the things that it names
is a failure of the work, such as a missing file: the same command succeeds once it is there.
"""

import atexit
import gc
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module

import click

from nixoci.cli.common import failures_in_one_line, print_error, warn
from nixoci.cli.meant import meant_command
from nixoci.cli.signals import INTERRUPTED, signal_goes_before_failures, signals_end_the_work
from nixoci.cli.standard_streams import finish_output, open_standard_streams, print_any_name
from nixoci.cli.verb import Verb

GROUPS = {
    "Images and lock": ("add", "list", "show", "remove", "update", "outdated", "verify", "prefetch"),
    "Building": (
        "generate",
        "module",
        "import",
        "extract",
        "image-store",
        "layer-cache",
        "units",
        "bundle",
        "mstack",
        "fetch-blob",
        "fetch-image",
    ),
    "Installing": ("switch", "register", "gc-roots"),
    "Deltas": ("send", "receive", "copy", "delta", "publish", "substituter"),
    "This machine": ("doctor",),
    "The command itself": ("help", "completion", "man"),
}
"""The verbs as `--help` shows them."""

_MODULES = dict.fromkeys(("add", "update", "remove", "list", "outdated", "verify"), "lock")
_MODULES |= {"module": "generate", "import": "compose", "bundle": "units", "copy": "send"}
_MODULES |= {"fetch-blob": "fetch", "fetch-image": "fetch"}
_FUNCTIONS = {"list": "list_images", "import": "import_compose", "help": "show_help"}


def _place(verb: str) -> tuple[str, str]:
    own = verb.replace("-", "_")
    return _MODULES.get(verb, own), _FUNCTIONS.get(verb, own)


VERBS = {verb: _place(verb) for group in GROUPS.values() for verb in group}
"""The module and the function of each verb."""


FIRST_STEPS = (
    "nixoci doctor",
    "nixoci add docker.io/library/nginx:1.27 --name web",
    "nixoci generate --nixoci nixoci --output default.nix",
    "nixoci switch $(nix-build --no-out-link --attr imageStore)",
)
"""The commands from a new machine to images in podman; `nixoci` is the checkout, as in the README."""

COMPLETION = "_NIXOCI_COMPLETE"
"""The variable by which a shell asks for completions, as click names it."""

_SENTENCE = 200
"""The longest first sentence of a verb's help, which is shown whole."""


class Verbs(click.Group):
    """The verbs. Each is imported when it is used: builds run the command often, and one verb needs little of it."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of the verbs."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> Verb | None:  # noqa: ARG002 - click's signature
        """Return a verb."""
        if cmd_name not in VERBS:
            return None
        module, function = VERBS[cmd_name]
        command: Verb = getattr(import_module(f"nixoci.cli.{module}"), function)
        gc.enable()
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options before the verb; one that belongs after it is an error that says so."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            known = (name for each in self.shown(ctx, VERBS) for parameter in each.params for name in parameter.opts)
            if error.option_name in known:
                raise click.UsageError(
                    f"{error.option_name} is an option of verbs; write it after the verb", ctx
                ) from error
            raise

    def find(self, ctx: click.Context, name: str) -> Verb:
        """Return the verb of this name.

        Raises:
            click.UsageError: There is none; the message names the one that was meant, if that can be told.
        """
        command = self.get_command(ctx, name)
        if command is None:
            meant = meant_command(name, VERBS)
            ask = f" Did you mean `{meant}`?" if meant is not None else ""
            raise click.UsageError(f"No such command {name!r}.{ask}", ctx)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the verb that the arguments start with, and those that follow it."""
        if not ctx.resilient_parsing and not args[0].startswith("-"):
            self.find(ctx, args[0])
        return super().resolve_command(ctx, args)

    def shown(self, ctx: click.Context, names: Iterable[str]) -> list[Verb]:
        """Return the verbs of these names, without the hidden ones."""
        commands = (self.get_command(ctx, name) for name in names)
        return [command for command in commands if command is not None and not command.hidden]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs in their groups."""
        width = max(map(len, VERBS))
        for title, names in GROUPS.items():
            rows = [
                ((command.name or "").ljust(width), command.get_short_help_str(limit=_SENTENCE))
                for command in self.shown(ctx, names)
            ]
            with formatter.section(title):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        """Write the first steps, whose lines are never wrapped."""
        with formatter.section("First steps"):
            for line in FIRST_STEPS:
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")


class _Lines(logging.Handler):
    """Warnings of the library as those of the verbs."""

    def emit(self, record: logging.LogRecord) -> None:
        warn(record.getMessage())


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="nixoci")
@click.option("-v", "--verbose", is_flag=True, help="Log the programs that are run to stderr.")
def cli(verbose: bool) -> None:  # noqa: FBT001 - click passes options by name
    """OCI container images as Nix store paths that podman, Docker, containerd and systemd run in place.

    `nixoci help VERB` shows the options and examples of a verb. `nixoci doctor` says what this machine lacks.
    """
    waits = logging.getLogger("nixoci.output")
    waits.handlers, waits.propagate = [_Lines()], False
    if verbose:
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr, format="%(message)s")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line, by default that of this process, and exit."""
    atexit.register(gc.freeze)  # skips the garbage collection of all modules at exit
    # numpy's library would start threads when it is loaded, which takes as long as all of the rest; no verb uses them
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    open_standard_streams()
    print_any_name()
    if COMPLETION in os.environ:
        from nixoci.cli.shells import add_shells  # noqa: PLC0415 - a shell asks for it alone

        add_shells()
    code: int | str | None = 0
    with signals_end_the_work():
        try:
            with failures_in_one_line(), signal_goes_before_failures():
                code = cli.main(args=arguments, prog_name="nixoci", standalone_mode=False)
        except SystemExit as end:
            code = end.code
        if code == INTERRUPTED:
            print_error("interrupted")
        try:
            finish_output()
        except OSError:
            if not code:
                with failures_in_one_line():
                    raise
    sys.exit(code)
