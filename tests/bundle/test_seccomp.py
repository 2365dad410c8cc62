from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.bundle import seccomp
from nixoci.errors import ContainerError, NixociError

if TYPE_CHECKING:
    from pathlib import Path

PROFILE: dict[str, Any] = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 38,
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
    "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [], "includes": {}, "excludes": {}},
        {"names": ["arm"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
    ],
}


def test_seccomp_is_for_the_architecture_and_the_capabilities() -> None:
    made = seccomp.for_container(PROFILE, architecture="amd64", capabilities=["CAP_CHOWN"])
    assert made["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert made["syscalls"] == [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
    ]
    admin = seccomp.for_container(PROFILE, architecture="arm64", capabilities=["CAP_SYS_ADMIN"])
    assert [rule["names"] for rule in admin["syscalls"]] == [["read"], ["arm"], ["mount"]]


def test_a_missing_profile_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ContainerError, match="--seccomp"):
        seccomp.read_profile(tmp_path / "none")


@pytest.mark.parametrize("text", ["[]", "{}"])
def test_a_file_that_is_no_profile_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "profile").write_text(text)
    with pytest.raises(ContainerError, match="not a seccomp profile"):
        seccomp.read_profile(tmp_path / "profile")


@pytest.mark.parametrize(
    ("syscalls", "message"),
    [
        ({}, "syscalls: expected a list, got {}"),
        ([{"name": "read", "action": "SCMP_ACT_ALLOW"}], r"syscalls\[0\]"),
        ([{"names": "read", "action": "SCMP_ACT_ALLOW"}], r"syscalls\[0\].names: expected a list"),
        ([{"names": ["read"], "action": 1}], r"syscalls\[0\].action: expected a string"),
        ([{"names": ["read"], "action": "x", "includes": {"caps": 1}}], r"syscalls\[0\].includes.caps"),
        ([{"names": ["read"], "action": "x", "errnoRet": "1"}], r"syscalls\[0\].errnoRet: expected an integer"),
        ([{"names": ["a\nExecStart=b"], "action": "x"}], r"'a\\nExecStart=b' is not the name of a system call"),
    ],
)
def test_a_part_of_the_wrong_type_is_refused(tmp_path: Path, syscalls: Any, message: str) -> None:
    file = tmp_path / "profile"
    file.write_text(json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": syscalls}))
    with pytest.raises(NixociError, match=f"^{re.escape(str(file))}: {message}"):
        seccomp.read_profile(file)


def test_a_whole_profile_is_read(tmp_path: Path) -> None:
    (tmp_path / "profile").write_text(json.dumps(PROFILE))
    assert seccomp.read_profile(tmp_path / "profile") == PROFILE
