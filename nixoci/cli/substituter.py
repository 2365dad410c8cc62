"""`nixoci substituter`: a binary cache on this machine that rebuilds NARs from published deltas."""

import logging
import math
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from nixoci.cli.common import one_line, parsed_by, store_option
from nixoci.cli.files import PATH
from nixoci.cli.verb import verb
from nixoci.delta.worker import DecodeWorker
from nixoci.errors import StoreError
from nixoci.nix_store.commands import check_daemon_access, real_store_dir
from nixoci.substituter.body import PAUSE
from nixoci.substituter.hosts import host_name
from nixoci.substituter.memory import WORKER_DATA, bound_memory, return_freed_memory

log = logging.getLogger(__name__)

ADDRESS = "127.0.0.1:8642"

_DAY = 86400.0
"""The longest time between signs of life, in seconds."""


class _OneLine(logging.Formatter):
    """Writes each message as one line of printable characters: parts of it come from the cache."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return one_line(record.getMessage())


class _Seconds(click.FloatRange):
    """Seconds of which a range can tell whether they are in it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number; NaN, of which every comparison is false, is none."""
        seconds: float = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return seconds


@verb(
    examples=[
        "nixoci substituter --upstream https://cache.example",
        "nixoci substituter --upstream https://cache.example --listen 127.0.0.1:9000",
    ],
)
@click.option("--upstream", "url", required=True, metavar="URL", help="The binary cache that has the deltas.")
@click.option(
    "--listen",
    "address",
    default=ADDRESS,
    show_default=True,
    metavar="ADDRESS:PORT",
    help="Address on this machine; a socket that systemd passes comes first.",
)
@click.option(
    "--keep-alive",
    type=_Seconds(min=0, min_open=True, max=_DAY),
    default=PAUSE,
    show_default=True,
    metavar="SECONDS",
    help="Time between signs of life to Nix; less than its stalled-download-timeout.",
)
@click.option(
    "--netrc-file",
    "netrc",
    type=PATH,
    metavar="FILE",
    help="Logins to a private cache, in place of /etc/nix/netrc.",
)
@click.option(
    "--host",
    "hosts",
    type=parsed_by(host_name),
    multiple=True,
    metavar="NAME",
    help="Another name of this machine by which it is asked, for a socket that systemd passes; may be repeated.",
)
@store_option
def substituter(
    *, url: str, address: str, keep_alive: float, netrc: Path | None, hosts: tuple[str, ...], store: str | None
) -> None:
    """Serve a binary cache to the Nix of this machine, with updates as deltas from the paths that are here.

    nix.conf names it before the cache itself: substituters = http://127.0.0.1:8642 URL
    """
    if not logging.getLogger().handlers:  # otherwise --verbose has set it up
        handler = logging.StreamHandler()
        handler.setFormatter(_OneLine())
        logging.basicConfig(level=logging.INFO, handlers=[handler])
        logging.getLogger("nixoci.process").setLevel(logging.WARNING)
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # warns of connections that it does not keep open
    with ExitStack() as cleanup:
        # Nix starts this service, and waits: the worker gets ready while this process loads the rest
        worker = cleanup.enter_context(DecodeWorker(memory=WORKER_DATA))
        worker.start()
        from nixoci.substituter.server import Server, listen, passed_socket  # noqa: PLC0415
        from nixoci.substituter.service import Service  # noqa: PLC0415
        from nixoci.substituter.shelf import Shelf  # noqa: PLC0415
        from nixoci.substituter.upstream import Upstream  # noqa: PLC0415

        upstream = Upstream(url, netrc=netrc)
        _check_store(store)
        listener = passed_socket()
        listener = cleanup.enter_context(listener or listen(address))
        # the limits of the whole process, which may be a caller's, once nothing is refused any more
        return_freed_memory()
        bound_memory()
        shelf = cleanup.enter_context(Shelf(upstream, store=store, worker=worker))
        service = Service(upstream, shelf, store=store)
        log.info("serving %s at %s", upstream.url, _shown(listener))
        with Server(listener, service, upstream, pause=keep_alive, names=hosts) as server:
            service.get_ready()
            server.serve_forever()


def _shown(listener: socket.socket) -> str:
    """Return the address at which a socket is asked, as in nix.conf."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix://{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"http://{host}:{name[1]}"


def _check_store(store: str | None) -> None:
    """Refuse a store that is not there or not for this user: no delta would be used, and nobody would know why."""
    real = real_store_dir(store)
    if not real.is_dir():
        raise StoreError(f"{store or real}: there is no Nix store, which would be {real}; name one with --store")
    check_daemon_access(store)
