from __future__ import annotations

import click
import pytest

from nixoci.cli import VERBS, cli


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_is_called_what_its_command_says(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name
    assert command.help


def test_an_unknown_verb_is_none() -> None:
    assert cli.get_command(click.Context(cli), "conjure") is None
