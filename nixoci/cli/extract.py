"""`nixoci extract`: an image becomes an image path."""

import click


@click.command()
@click.argument("source")
@click.argument("dest", type=click.Path())
def extract(source: str, dest: str) -> None:
    """Extract the image SOURCE to the new directory DEST."""
    raise NotImplementedError(source, dest)
