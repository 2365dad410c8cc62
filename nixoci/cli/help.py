"""`nixoci help`: the help of the command or of a verb, as `--help` prints it."""

import click

from nixoci.cli.completers import complete_verb
from nixoci.cli.verb import verb


@verb(
    "help",
    examples=[
        "nixoci help",
        "nixoci help prefetch",
    ],
)
@click.argument("name", metavar="[VERB]", required=False, shell_complete=complete_verb)
@click.pass_context
def show_help(context: click.Context, *, name: str | None) -> None:
    """Show all verbs, or the options and examples of VERB."""
    from nixoci.cli import cli  # noqa: PLC0415 - it imports the verbs, this one too

    program = context.find_root()
    if name is None:
        click.echo(program.get_help())
    else:
        click.echo(click.Context(cli.find(program, name), info_name=name, parent=program).get_help())
