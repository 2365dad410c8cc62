"""The files of the host's /etc that a bundle's start copies, with the container's own lines."""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.units.start import start_script
from tests.units.samples import OUTPUT, bundled

if TYPE_CHECKING:
    from pathlib import Path

HOST = {
    "hosts": "127.0.0.1 localhost\n10.9.9.9\tother # a comment",
    "resolv.conf": "# the host's\n\ndomain old.org\nsearch a.org b.org\nnameserver 10.0.0.9\nnameserver\t10.0.0.8\n"
    "options rotate\n x\n",
}


def copied(path: Path, shell: str, host: dict[str, str] | None = None, **options: Any) -> dict[str, str]:
    """Run the part of a start that copies, with other files as the host's, and return the copies."""
    script = start_script(*bundled(path / "image", networks=["host"], **options), OUTPUT, image=None)
    variables = script.split("\n\n", 2)[1]
    part = script[script.index("copy() {") : script.index("# As podman")].replace("/etc/", f"{path}/etc/")
    for folder in ("etc", "run"):
        (path / folder).mkdir()
    for name, text in (HOST if host is None else host).items():
        (path / "etc" / name).write_text(text)
    text = f"{variables}\nrun={shlex.quote(str(path / 'run'))}\ncat=cat\n{part}"
    subprocess.run([shell, "-euc", text], check=True, timeout=60)
    return {file.name: file.read_text() for file in (path / "run").iterdir()}


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_containers_own_lines_come_first_and_replace_those_of_their_kind(tmp_path: Path, shell: str) -> None:
    plain = copied(tmp_path / "plain", shell)
    assert plain == HOST | {"hosts": HOST["hosts"] + "\n"}
    # podman-run(1), --add-host and --dns: on the host's network, the host is the container itself
    own = copied(tmp_path / "own", shell, extraHosts=["a;b:fd00::1", "h:host-gateway"], dns=["10.1.1.1"])
    assert own["hosts"] == f"fd00::1\ta b\n127.0.0.1\th\n{HOST['hosts']}\n"
    assert own["resolv.conf"] == (
        "nameserver 10.1.1.1\n# the host's\n\ndomain old.org\nsearch a.org b.org\noptions rotate\n x\n"
    )
    every = copied(tmp_path / "every", shell, dns=["10.1.1.1"], dnsSearch=["c.org"], dnsOptions=["ndots:2"])
    assert every["resolv.conf"] == ("search c.org\nnameserver 10.1.1.1\noptions ndots:2\n# the host's\n\n x\n")
    none = copied(tmp_path / "none", shell, dnsSearch=["."])
    assert "search" not in none["resolv.conf"]
    assert "domain" not in none["resolv.conf"]


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_own_lines_need_no_file_of_the_host(tmp_path: Path, shell: str) -> None:
    made = copied(tmp_path, shell, {}, extraHosts=["a:10.0.0.1"], dns=["10.1.1.1"])
    assert made == {"hosts": "10.0.0.1\ta\n", "resolv.conf": "nameserver 10.1.1.1\n"}


def test_a_long_file_is_searched_to_its_end(tmp_path: Path) -> None:
    host = {"resolv.conf": "# filler\n" * 300 + "nameserver 10.0.0.9\n"}
    made = copied(tmp_path, "sh", host, dns=["10.1.1.1"])
    assert [line for line in made["resolv.conf"].splitlines() if line.startswith("name")] == ["nameserver 10.1.1.1"]


@pytest.mark.parametrize(("zone", "found"), [("Area/City", True), ("local", True), ("Area", False), ("No/City", False)])
def test_a_time_zone_is_copied_from_the_host(tmp_path: Path, zone: str, *, found: bool) -> None:
    script = start_script(*bundled(tmp_path / "image", timezone=zone), OUTPUT, image=None)
    part = script[script.index("# As podman") : script.index('if [ -n "$environment" ]')]
    (tmp_path / "Area").mkdir()
    for file in ("Area/City", "localtime"):
        (tmp_path / file).write_bytes(b"TZif2\0\xff" + file.encode())
    variables = script.split("\n\n", 2)[1]
    text = f"{variables}\nlocaltime={shlex.quote(str(tmp_path / 'copy'))}\ncat=cat\n{part}"
    text = text.replace("=/etc/localtime", f"={tmp_path}/localtime")
    done = subprocess.run(
        ["sh", "-euc", text], env={"TZDIR": str(tmp_path), "PATH": "/bin:/usr/bin"}, capture_output=True, check=False
    )
    if found:
        expected = b"localtime" if zone == "local" else zone.encode()
        assert (tmp_path / "copy").read_bytes() == b"TZif2\0\xff" + expected
    else:
        assert done.returncode == 1
        assert done.stderr.decode().startswith(
            f"error: containers.c.timezone: {tmp_path}/{zone} is no file of this host"
        )
