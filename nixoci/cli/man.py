"""`nixoci man`: the manual pages."""

from pathlib import Path

import click

from nixoci.cli.files import PATH
from nixoci.cli.manual import PROGRAM, render_program_page, render_verb_page
from nixoci.cli.verb import verb
from nixoci.output import missing_directories, write_all_if_changed


@verb(
    examples=[
        "nixoci man ~/.local/share/man/man1",
        "nixoci man pages",
    ],
)
@click.argument("directory", metavar="DIR", type=PATH)
def man(*, directory: Path) -> None:
    """Write the manual pages of nixoci and of its verbs to the directory DIR.

    The Nix package has them already. From pip, write them to a `man1` directory that `man` searches.
    """
    from nixoci import __version__  # noqa: PLC0415 - only an installed nixoci has a version
    from nixoci.cli import GROUPS, cli  # noqa: PLC0415 - it imports the verbs, this one too

    program = click.Context(cli, info_name=PROGRAM, **cli.context_settings)
    groups = {title: cli.shown(program, names) for title, names in GROUPS.items()}
    pages = {directory / f"{PROGRAM}.1": render_program_page(program, groups, __version__)}
    for each in (each for group in groups.values() for each in group):
        pages[directory / f"{PROGRAM}-{each.name}.1"] = render_verb_page(each, program, __version__)
    with missing_directories(directory):
        write_all_if_changed(pages)
