"""Errors of `nixoci copy` where ssh or the other machine refuses: one line with a way out, by the real ssh."""

from __future__ import annotations

from tests.host.machine import Machine
from tests.host.network import allow_ssh, join

NEW_KEY = """
ssh-keygen -q -t ed25519 -N "" -f /root/other
sed -i "s|ssh-ed25519 .*|$(cut -d " " -f 1,2 /root/other.pub)|" /root/.ssh/known_hosts
"""


def test_each_refusal_has_a_way_out(machine: Machine) -> None:
    path = machine.run(["nix-store", "--add", "/etc/hostname"]).stdout.strip()
    machine.run(["rm", "--recursive", "--force", "/root/.ssh"])

    def copy_to(host: str) -> str:
        done = machine.run(["nixoci", "copy", "--to", f"ssh://{host}", path], check=False)
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = (each for each in done.stderr.splitlines() if not each.startswith("warning: "))
        assert line.startswith(f"error: ssh://{host}: ")
        return line

    with Machine() as far:
        _, address = join(machine, far, network="10.24.0")
        reached = f"check the address and the port, and that `ssh {address}` reaches it"
        assert copy_to(address).endswith(f"Connection refused; {reached}")
        assert "check the name, and that `ssh nowhere.invalid` reaches it" in copy_to("nowhere.invalid")
        far.run(["systemctl", "start", "ssh.service"])
        far.wait_for_unit("ssh.service")
        assert copy_to(address).endswith(f"; its key is not known here; log in once with `ssh {address}` and accept it")
        machine.run(["mkdir", "--mode=0700", "/root/.ssh"])
        machine.run(["tee", "/root/.ssh/config"], input="StrictHostKeyChecking accept-new\n")
        assert copy_to(address).endswith(f"take your key there with `ssh-copy-id {address}`")
        allow_ssh(far, by=machine)
        assert copy_to(address).endswith(f"; install nixoci there, where `ssh {address} nixoci` finds it")
        far.run(["mv", "/usr/bin/nix-store", "/root"])
        assert copy_to(address).endswith(f"; install Nix there, where `ssh {address} nix-store` finds it")
        machine.run(["sh", "-e", "-c", NEW_KEY])
        assert f"remove the old one with `ssh-keygen -R {address}`" in copy_to(address)
    machine.run(["rm", "--recursive", "--force", "/root/.ssh"])
