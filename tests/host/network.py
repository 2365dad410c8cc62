"""Two machines on one network, for transfers between hosts."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from tests.host.process import run

if TYPE_CHECKING:
    from tests.host.machine import Machine


def join(near: Machine, far: Machine, *, network: str = "10.23.0") -> tuple[str, str]:
    """Connect two machines; return the address of each on their common network, a /24."""
    link = f"v{uuid.uuid4().hex[:8]}"
    create = ["ip", "link", "add", link, "type", "veth", "peer", "name", link, "netns", str(far.leader)]
    run(["nsenter", f"--target={near.leader}", "--net", *create])
    addresses = f"{network}.1", f"{network}.2"
    for machine, address in zip((near, far), addresses, strict=True):
        machine.run(["ip", "address", "add", f"{address}/24", "dev", link])
        machine.run(["ip", "link", "set", link, "up"])
    return addresses


def allow_ssh(server: Machine, *, by: Machine) -> None:
    """Start a machine's sshd and let root of another log in there without a question."""
    by.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/.ssh/id_ed25519"], input="n\n", check=False)
    by.run(["tee", "/root/.ssh/config"], input="StrictHostKeyChecking accept-new\n")
    public = by.run(["cat", "/root/.ssh/id_ed25519.pub"]).stdout
    server.run(["mkdir", "--parents", "--mode=0700", "/root/.ssh"])
    server.run(["tee", "--append", "/root/.ssh/authorized_keys"], input=public)
    server.run(["systemctl", "start", "ssh.service"])
    server.wait_for_unit("ssh.service")
