"""A verb of the command: a click command whose help ends with examples."""

from collections.abc import Callable, Sequence
from typing import Any

import click


class Verb(click.Command):
    """A verb; `examples` are command lines for a shell."""

    def __init__(self, *arguments: Any, examples: Sequence[str] = (), **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.examples = tuple(examples)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; every error names this verb, also that of an option without its value."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            program = ctx.find_root()
            if ctx.parent and any(error.option_name in parameter.opts for parameter in program.command.params):
                before = f"{program.info_name} {error.option_name} {ctx.info_name}"
                raise click.UsageError(f"{error.option_name} comes before the verb: `{before}`", ctx) from error
            error.ctx = error.ctx or ctx
            raise
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write the examples, whose lines are never wrapped."""
        if not self.examples:
            return
        with formatter.section("Examples"):
            for line in self.examples:
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def verb(
    name: str | None = None, *, examples: Sequence[str] = (), hidden: bool = False
) -> Callable[[Callable[..., Any]], Verb]:
    """Make a verb of a function, whose docstring is the help; the name follows from the function's by default."""
    return click.command(name, cls=Verb, examples=examples, hidden=hidden)
