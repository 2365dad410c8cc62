"""A demonstration of the main job from end to end: pin, build, run, and nothing copied.

Every command is printed before it runs, as one would type it.
"""

# ruff: noqa: T201  # a person reads what this prints

from __future__ import annotations

import json
import shlex
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from tests.host.images import INSIDE, images_dir, sample_image
from tests.host.machine import Machine
from tests.host.process import FETCH, CommandError
from tests.host.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Sequence

LOCK = "nixoci.lock.json"
TOOLS = {"nixoci": "/opt/nixoci", "composefs": "/usr", "cacert": "/usr"}
"""The tools of the generated expression, which come from the machine here instead of nixpkgs."""


class Demo:
    """A machine and a folder in it, where commands run and are shown."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        machine.run(["mkdir", "/home/demo"])

    def say(self, text: str) -> None:
        """Print a heading."""
        print(f"\n== {text}", flush=True)

    def run(self, argv: Sequence[str], *, timeout: float = 600) -> str:
        """Show a command, run it, show and return its output."""
        print(f"$ {shlex.join(argv)}", flush=True)
        output = self.machine.run(argv, cwd="/home/demo", timeout=timeout).stdout
        print("".join(f"  {line}\n" for line in output.splitlines()), end="", flush=True)
        return output.strip()

    def write(self, path: str, text: str) -> None:
        """Write a file of the machine, and show it."""
        print(f"$ cat {path}\n" + "".join(f"  {line}\n" for line in text.splitlines()), end="")
        self.machine.run(["tee", path], input=text)

    def storage(self) -> int:
        """Return the bytes that podman's own storage takes, without mounts below it."""
        measure = ["du", "--summarize", "--bytes", "--one-file-system", "/var/lib/containers"]
        return int(self.machine.run(measure).stdout.split()[0])


def main(arguments: list[str]) -> int:
    """Show the job on a given reference, or on a sample image; return an exit code."""
    if len(arguments) > 1 or (arguments and arguments[0].startswith("-")):
        print("usage: ./scripts/demo [REF]", file=sys.stderr)
        return 2
    sample = None if arguments else sample_image("nginx")
    try:
        with ExitStack() as running:
            # a given reference is somewhere outside
            machine = running.enter_context(Machine(private_network=bool(sample), binds={images_dir(): INSIDE}))
            reference = running.enter_context(Registry(machine)).push(sample) if sample else arguments[0]
            show(Demo(machine), reference, published=bool(sample))
    except CommandError as failed:
        print(failed, file=sys.stderr)
        return 1
    return 0


def show(demo: Demo, reference: str, *, published: bool) -> None:
    """Pin, build and run an image, and print the space that it takes.

    A container whose ports are not published has no network at all, and is asked from within its namespace.
    """
    demo.say("Pin the image: this reads its manifest and its config, no layer")
    demo.run(["nixoci", "add", reference, "--name", "demo", "--lock", LOCK])
    demo.run(["du", "--bytes", LOCK])

    demo.say("Build the image store, in Nix's sandbox")
    demo.run(["nixoci", "generate", "--lock", LOCK, "--output", "default.nix"])
    tools = [word for name, prefix in TOOLS.items() for word in ("--argstr", name, prefix)]
    store = demo.run(["nix-build", "--no-out-link", *tools, "--attr", "imageStore"], timeout=1800)

    demo.say("Tell podman where it is")
    config = ["[storage]", 'driver = "overlay"', "[storage.options]", f'additionalimagestores = ["{store}"]', ""]
    demo.write("/etc/containers/storage.conf", "\n".join(config))
    demo.run(["podman", "images"])
    before = demo.storage()

    demo.say("Run it in place")
    network = "--publish=8080:80" if published else "--network=none"
    image = json.loads(demo.machine.run(["podman", "images", "--format=json"]).stdout)[0]["Names"][0]
    demo.run(["podman", "run", "--detach", "--name=demo", network, image])
    if published:
        demo.run([*FETCH, "http://127.0.0.1:8080/"])
    else:
        ask(demo, image)
    demo.run(["podman", "exec", "demo", "stat", "--format=%A %U %n", "/etc/shadow", "/usr/bin/passwd"])

    demo.say("What was copied into podman's own storage")
    grown = demo.storage() - before
    size = int(demo.run(["podman", "image", "inspect", "--format={{.Size}}", image]))
    print(f"  the image has {size / 1e6:.1f} MB, podman's storage grew by {grown / 1e3:.1f} kB")
    demo.run(["podman", "rm", "--force", "--time=2", "demo"])


def ask(demo: Demo, image: str) -> None:
    """Fetch a page from the first port that an image exposes, if it exposes one."""
    config = json.loads(demo.machine.run(["podman", "image", "inspect", image]).stdout)[0]["Config"]
    for port in config.get("ExposedPorts") or {}:
        pid = demo.machine.run(["podman", "inspect", "--format={{.State.Pid}}", "demo"]).stdout.strip()
        demo.run(["nsenter", f"--target={pid}", "--net", *FETCH, f"http://127.0.0.1:{port.split('/')[0]}/"])
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
