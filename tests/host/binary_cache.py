"""A binary cache on a machine: files behind a web server with a log of its answers, which can be told to fail."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from types import TracebackType

    from tests.host.machine import Machine

SERVER = r"""
import json, os, re, sys, time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

folder, port = sys.argv[1], int(sys.argv[2])

class Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *arguments):
        super().__init__(*arguments, directory=folder)

    def do_GET(self):
        try:
            with open(folder + ".fault") as file:
                fault = json.load(file)
        except FileNotFoundError:
            fault = {}
        kind = fault.get("kind") if re.search(fault.get("path", "$^"), self.path) else None
        sent = 0
        path = self.translate_path(self.path)
        if kind in {"404", "500"}:
            self.send_error(int(kind))
            status = int(kind)
        elif not os.path.isfile(path):
            self.send_error(404)
            status = 404
        else:
            status = 200
            with open(path, "rb") as file:
                data = file.read()
            if kind == "altered":
                data = data[:-100] + bytes([data[-100] ^ 1]) + data[-99:]
            if kind == "swapped":
                with open(folder + ".other", "rb") as file:
                    data = file.read()
            if kind == "stall before":
                time.sleep(3600)
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if kind in {"cut", "stall", "slow"}:
                head = data[: len(data) // 2]
                self.wfile.write(head)
                self.wfile.flush()
                if kind == "stall":
                    time.sleep(3600)
                if kind == "cut":
                    self.close_connection = True
                    self.connection.close()
                else:
                    time.sleep(fault["seconds"])
                    self.wfile.write(data[len(head):])
            else:
                self.wfile.write(data)
            sent = len(data)
        print(json.dumps([self.path, status, sent]), flush=True)

    def log_message(self, *_):
        pass

ThreadingHTTPServer.request_queue_size = 128
ThreadingHTTPServer(("", port), Handler).serve_forever()
"""


class Answer(NamedTuple):
    """An answer of the web server; `size` are the bytes of its body."""

    path: str
    status: int
    size: int


class BinaryCache:
    """A binary cache in a folder of a machine, signed by a key of its own, as a context manager."""

    def __init__(self, machine: Machine, *, port: int = 8080, folder: str = "/srv/cache") -> None:
        self.machine = machine
        self.port = port
        self.folder = folder
        self._unit = f"cache-{port}.service"
        self._seen = 0

    def __enter__(self) -> Self:
        make = (
            f"mkdir --parents {self.folder} &&"
            f" nix-store --generate-binary-cache-key test-1 {self.folder}.key {self.folder}.pub"
        )
        self.machine.run(["sh", "-c", make])
        self.machine.run(["tee", f"{self.folder}.py"], input=SERVER)
        unit = ["systemd-run", "--quiet", f"--unit={self._unit}", "--collect"]
        self.machine.run([*unit, "/usr/bin/python3", f"{self.folder}.py", self.folder, str(self.port)])
        probe = ["curl", "--silent", "--output", "/dev/null", f"http://127.0.0.1:{self.port}/"]
        deadline = time.monotonic() + 20
        while self.machine.run(probe, check=False).returncode and time.monotonic() < deadline:
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.machine.run(["systemctl", "stop", self._unit], check=False)

    @property
    def public_key(self) -> str:
        return self.machine.run(["cat", f"{self.folder}.pub"]).stdout.strip()

    def add(self, *paths: str, compression: str = "zstd", key: str | None = None) -> None:
        """Copy the closures of paths to the cache, signed."""
        url = f"file://{self.folder}?secret-key={key or self.folder + '.key'}&compression={compression}"
        self.machine.run(["nix", "copy", "--to", url, *paths], timeout=300)

    def publish(self, old: str, new: str, *options: str) -> dict[str, Any]:
        """Publish the delta between two closures."""
        command = ["nixoci", "publish", "--cache", self.folder, "--from", old, "--to", new, "--json", *options]
        done: dict[str, Any] = json.loads(self.machine.run(command, timeout=300).stdout)
        return done

    def fail(self, path: str = "$^", kind: str = "", *, seconds: float = 0.0) -> None:
        """Fail from now on for paths that match a pattern; without arguments, work again."""
        self.machine.run(
            ["tee", f"{self.folder}.fault"], input=json.dumps({"path": path, "kind": kind, "seconds": seconds})
        )

    def answers(self) -> list[Answer]:
        """Return the answers since the last call, or since the start."""
        lines = self.machine.journal(self._unit).splitlines()
        found = [Answer(*json.loads(line)) for line in lines if line.startswith("[")]
        new, self._seen = found[self._seen :], len(found)
        return new
