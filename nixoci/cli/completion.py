"""`nixoci completion`: the shell completion script for verbs, options and image names."""

import click
from click.shell_completion import get_completion_class

from nixoci.cli.shells import add_shells
from nixoci.cli.verb import verb

_PROGRAM = "nixoci"


@verb(
    examples=[
        "source <(nixoci completion bash)",
        "nixoci completion fish > ~/.config/fish/completions/nixoci.fish",
    ],
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for SHELL. In bash, load it with `source <(nixoci completion bash)`."""
    add_shells()
    script = get_completion_class(shell)
    if script is None:
        raise click.UsageError(f"click has no completion for {shell}.")
    root = context.find_root()
    click.echo(script(root.command, {}, _PROGRAM, f"_{_PROGRAM.upper()}_COMPLETE").source())
