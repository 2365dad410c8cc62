import pytest

from nixoci.delta.copy import ssh_command
from nixoci.errors import DeltaError


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
