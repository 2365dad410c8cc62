"""`nixoci mstack`: write the mount stack of an image for systemd-nspawn and RootMStack=."""

from dataclasses import dataclass
from pathlib import Path

import click

from nixoci.cli.common import json_option, print_json
from nixoci.cli.files import PATH
from nixoci.cli.verb import verb
from nixoci.engines.mstack import build_stack


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenStack:
    """A mount stack, and the mount point of the image under it."""

    out: str
    image: str
    writable: bool


@verb(
    examples=[
        "nixoci mstack web.mstack store",
        "nixoci mstack web.mstack store --image docker.io/library/nginx:1.27 --writable",
    ],
)
@click.argument("out", type=PATH)
@click.argument("store", type=PATH)
@click.option("--image", metavar="NAME", help="Name or id of the image, if STORE has several.")
@click.option("--writable", is_flag=True, help="Keep what is written in OUT; otherwise the root is read-only.")
@json_option
def mstack(*, out: Path, store: Path, image: str | None, writable: bool, as_json: bool) -> None:
    """Write OUT, a mount stack for `systemd-nspawn --mstack=` and RootMStack=, over an image of the image store STORE.

    The image is used where nixoci-images.service mounts it, which has to be running. systemd 260 is the first version
    with mount stacks.
    """
    point = build_stack(store, out.absolute(), name=image, writable=writable)
    if as_json:
        print_json(WrittenStack(out=str(out.absolute()), image=point, writable=writable))
