"""A binary cache on a machine: files behind a web server with a log of its answers, which can be told to fail."""

from __future__ import annotations

import base64
import json
import time
import uuid
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from tests.host.machine import Machine

SERVER = r"""
import collections, json, os, re, sys, threading, time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

folder, port = sys.argv[1], int(sys.argv[2])
used = collections.Counter()
lock = threading.Lock()

def fault_of(path):
    with lock, open(folder + ".faults") as file:
        for fault in json.load(file):
            if re.search(fault["path"], path) and used[fault["id"]] < fault["times"]:
                used[fault["id"]] += 1
                return fault
    return {"kind": ""}

class Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a body that follows its head would wait 40 ms for the client's acknowledgement

    def __init__(self, *arguments):
        super().__init__(*arguments, directory=folder)

    def do_GET(self):
        with open(folder + ".login") as file:
            login = file.read()
        if login and self.headers["Authorization"] != login:
            self.log_answer(401, 0)
            self.send_error(401)
            return
        fault = fault_of(self.path)
        kind = fault["kind"]
        path = self.translate_path(self.path)
        if kind in {"404", "500"}:
            self.log_answer(int(kind), 0)
            self.send_error(int(kind))
        elif not os.path.isfile(path):
            self.log_answer(404, 0)
            self.send_error(404)
        else:
            with open(fault["other"] if kind == "swapped" else path, "rb") as file:
                data = file.read()
            middle = int(len(data) * fault.get("at", 0.5))
            if kind == "altered":
                data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1:]
            if kind == "resigned":
                data = re.sub(rb"(?m)^(Sig: [^:]*:)(.*)$", lambda found: found[1] + found[2][::-1], data)
            if kind == "stall before":
                time.sleep(fault["seconds"])
            self.log_answer(200, len(data))
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if kind in {"cut", "stall", "slow"}:
                self.wfile.write(data[:middle])
                self.wfile.flush()
                if kind != "cut":
                    time.sleep(fault["seconds"])
                if kind == "slow":
                    self.wfile.write(data[middle:])
                else:
                    self.close_connection = True
                    self.connection.close()
            else:
                self.wfile.write(data)

    def log_answer(self, status, size):
        # before the answer: whoever has that may ask for the log; in one piece, as threads write at once
        print(json.dumps([self.path, status, size]) + "\n", end="", flush=True)

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


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A way in which the web server fails.

    Attributes:
        path: A pattern of the paths for which it does.
        kind: `404`, `500`, `cut`, `altered`, `resigned` (a narinfo with other signatures), `swapped`, `stall before`,
            `stall`, or `slow`, which goes on after the stall.
        at: The place of the cut, the stall or the altered byte, as a part of the whole.
        seconds: Seconds of the stall.
        times: Requests for which it fails.
        other: The file that takes the place of the right one.
    """

    path: str
    kind: str
    at: float = 0.5
    seconds: float = 3600.0
    times: int = 1 << 30
    other: str = ""


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
        self.inject([])
        self.ask_login("")
        unit = ["systemd-run", "--quiet", f"--unit={self._unit}", "--collect"]
        self.machine.run([*unit, "/usr/bin/python3", f"{self.folder}.py", self.folder, str(self.port)])
        probe = ["curl", "--silent", "--output", "/dev/null", f"http://127.0.0.1:{self.port}/"]
        deadline = time.monotonic() + 60
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

    def fail(self, path: str = "$^", kind: str = "", *, seconds: float = 3600.0, other: str = "") -> None:
        """Fail from now on for paths that match a pattern; without arguments, work again."""
        self.inject([Fault(path=path, kind=kind, seconds=seconds, other=other)])

    def inject(self, faults: Sequence[Fault]) -> None:
        """Fail from now on in these ways, the first that matches a path and is not used up."""
        text = json.dumps([{"id": uuid.uuid4().hex, **asdict(fault)} for fault in faults])
        self.machine.run(["sh", "-c", "cat > $0.new && mv $0.new $0", f"{self.folder}.faults"], input=text)

    def ask_login(self, login: str) -> None:
        """Answer from now on those only who send this as `USER:PASSWORD`; everyone, if it is empty."""
        header = f"Basic {base64.b64encode(login.encode()).decode()}" if login else ""
        self.machine.run(["tee", f"{self.folder}.login"], input=header)

    def answers(self) -> list[Answer]:
        """Return the answers since the last call, or since the start."""
        lines = self.machine.journal(self._unit).splitlines()
        found = [Answer(*json.loads(line)) for line in lines if line.startswith("[")]
        new, self._seen = found[self._seen :], len(found)
        return new
