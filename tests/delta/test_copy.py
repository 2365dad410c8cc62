import pytest

from nixoci.delta.copy import ssh_command, ssh_failures
from nixoci.errors import DeltaError, ProcessError


@pytest.mark.parametrize(
    ("target", "argv"),
    [
        ("ssh://host", ["ssh", "--", "host"]),
        ("ssh://root@host.example/", ["ssh", "--", "root@host.example"]),
        ("ssh://root@host:2222", ["ssh", "-p", "2222", "--", "root@host"]),
        ("ssh://alice@[fe80::1]:22", ["ssh", "-p", "22", "--", "alice@fe80::1"]),
    ],
)
def test_a_machine_is_reached_by_ssh(target: str, argv: list[str]) -> None:
    assert ssh_command(target) == argv


@pytest.mark.parametrize(
    "target",
    [
        "host",
        "http://host",
        "ssh://",
        "ssh://-oProxyCommand=x",
        "ssh://host/path",
        "ssh://host:x",
        "ssh://a b",
        "ssh://@",
    ],
)
def test_something_else_is_refused(target: str) -> None:
    with pytest.raises(DeltaError, match="give ssh://HOST"):
        ssh_command(target)


CHANGED = """@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r
Host key for edge has changed and you have requested strict checking.\r
Host key verification failed.\r
"""
NO_NIXOCI = "install nixoci there, where `ssh -p 2222 me@edge nixoci` finds it"
NO_NIX = "install Nix there, where `ssh -p 2222 me@edge nix-store` finds it"


@pytest.mark.parametrize(
    ("said", "way_out"),
    [
        (
            CHANGED,
            (
                "if you know why its key is another one, remove the old one with `ssh-keygen -R '[edge]:2222'`, and log"
                " in once with `ssh -p 2222 me@edge`"
            ),
        ),
        (
            "Host key verification failed.\r\n",
            "its key is not known here; log in once with `ssh -p 2222 me@edge` and accept it",
        ),
        (
            "me@edge: Permission denied (publickey).\r\n",
            "give another user, ssh://USER@HOST, or take your key there with `ssh-copy-id -p 2222 me@edge`",
        ),
        ("sh: 1: nixoci: not found\n", NO_NIXOCI),
        ("bash: line 1: nixoci: command not found\n", NO_NIXOCI),
        ("zsh:1: command not found: nixoci\n", NO_NIXOCI),
        ("fish: Unknown command: nixoci\n", NO_NIXOCI),
        ("xargs: nix-store: No such file or directory\n", NO_NIX),
        ("xargs: failed to run command 'nix-store': No such file or directory\n", NO_NIX),
        ("bash: line 1: xargs: command not found\n", NO_NIX),
    ],
)
def test_what_ssh_says_has_a_way_out(said: str, way_out: str) -> None:
    with pytest.raises(ProcessError) as caught, ssh_failures("ssh://me@edge:2222"):
        raise ProcessError("ssh failed", stderr=said)
    last = said.splitlines()[-1].rstrip(".")
    assert str(caught.value) == f"ssh://me@edge:2222: {last}; {way_out}"


def test_another_error_stays_as_it_is() -> None:
    with pytest.raises(ProcessError, match=r"^error: full$"), ssh_failures("ssh://edge"):
        raise ProcessError("error: full", stderr="error: path /nix/store/x-nixoci: not valid")
