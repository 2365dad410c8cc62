"""A registry on the machine's loopback, and its log of requests."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from types import TracebackType

    from tests.host.images import Image
    from tests.host.machine import Machine

USER, PASSWORD = "tester", "correct horse"
"""The account of a registry that asks for one."""


class Request(NamedTuple):
    """One request that the registry answered."""

    method: str
    path: str
    status: int


class Registry:
    """docker-registry as a unit of the machine, with storage of its own, as a context manager."""

    def __init__(self, machine: Machine, *, port: int = 5000, auth: bool = False) -> None:
        self.machine = machine
        self.host = f"127.0.0.1:{port}"
        self.credentials = f"{USER}:{PASSWORD}" if auth else None
        self._unit = f"registry-{port}.service"
        self._folder = Path(f"/var/lib/registry/{port}")

    def __enter__(self) -> Self:
        config = {
            "version": "0.1",
            "log": {"accesslog": {"disabled": False}, "level": "warn"},
            "storage": {"filesystem": {"rootdirectory": str(self._folder / "data")}, "delete": {"enabled": True}},
            "http": {"addr": self.host},
        }
        self.machine.run(["mkdir", "--parents", self._folder])
        if self.credentials:
            passwords = self._folder / "htpasswd"
            self.machine.run(["htpasswd", "-Bbc", passwords, USER, PASSWORD])
            config["auth"] = {"htpasswd": {"realm": "nixoci", "path": str(passwords)}}
        # JSON is YAML
        self.machine.run(["tee", self._folder / "config.yml"], input=json.dumps(config))
        unit = ["systemd-run", "--quiet", f"--unit={self._unit}", "--collect"]
        self.machine.run([*unit, "docker-registry", "serve", str(self._folder / "config.yml")])
        self._wait_until_it_answers()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.machine.run(["systemctl", "stop", self._unit], check=False)
        self.machine.run(["rm", "--recursive", "--force", self._folder])

    def push(self, image: Image, *, name: str | None = None) -> str:
        """Copy a sample image to the registry; return the reference to pull it by."""
        reference = f"{self.host}/{name or image.name}:{image.tag}"
        login = [f"--dest-creds={self.credentials}"] if self.credentials else []
        self.machine.run(["skopeo", "copy", "--quiet", *login, image.inside, f"docker://{reference}"], timeout=300)
        return reference

    def collect_garbage(self) -> None:
        """Remove the manifests that no tag names, and what only they name."""
        self.machine.run(["docker-registry", "garbage-collect", "--delete-untagged", self._folder / "config.yml"])

    def requests(self) -> list[Request]:
        """Return all requests so far, in order; ask :meth:`clear` for a line to start from."""
        return self._logged()[self._seen :]

    _seen = 0
    _marks = 0

    def _logged(self) -> list[Request]:
        """Return what the log has once a request that is made now is in it: it is written after the answers."""
        self._marks += 1
        mark = f"/v2/?mark={self._marks}"
        self.machine.run(["curl", "--silent", "--output", "/dev/null", f"http://{self.host}{mark}"])
        deadline = time.monotonic() + 60
        while True:
            log = self.machine.journal(self._unit).splitlines()
            found = [request for line in log if (request := _parse(line))]
            if any(request.path == mark for request in found) or time.monotonic() > deadline:
                return [request for request in found if "?mark=" not in request.path]
            time.sleep(0.05)

    def clear(self) -> None:
        """Forget the requests so far."""
        self._seen += len(self.requests())

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + 60
        probe = ["curl", "--silent", "--output", "/dev/null", f"http://{self.host}/v2/"]
        while self.machine.run(probe, check=False).returncode and time.monotonic() < deadline:
            time.sleep(0.05)
        self.machine.wait_for_unit(self._unit)
        self.clear()


def _parse(line: str) -> Request | None:
    """Read a line of the combined log format: ``... "METHOD PATH HTTP/1.1" STATUS ...``."""
    before, _, rest = line.partition('"')
    request, _, after = rest.partition('" ')
    words = request.split(" ")
    if " - - [" not in before or len(words) != 3 or not words[2].startswith("HTTP/"):
        return None
    return Request(words[0], words[1], int(after.split(" ")[0]))
