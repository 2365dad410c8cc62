"""The program that becomes a container's process, run for what it is: the kernel's own view of it is what counts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.container.capabilities import DEFAULT_CAPABILITIES, NUMBERS, OTHER_CAPABILITIES, parse_capabilities
from nixoci.container.users import User
from nixoci.units import launcher
from nixoci.units.launcher import Process, render_launcher

if TYPE_CHECKING:
    from pathlib import Path

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or os.uname().machine != "x86_64", reason="it becomes another user, on the machine that it is for"
)

SHOW = """
import json, os, sys
status = dict(map(str.strip, line.split(":", 1)) for line in open("/proc/self/status"))
sets = {name: status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
ids = os.getresuid() + os.getresgid()
print(json.dumps([ids, status["Groups"].split(), sets, dict(os.environ), os.getcwd(), sys.argv[1:]]))
"""


def process(**changed: Any) -> Process:
    given: dict[str, Any] = {
        "path": "/usr/bin/python3",
        "environment": {"PATH": "/bin", "LC_ALL": "C.UTF-8"},
        "directory": "/usr",
        "user": User(0, 0, (), None),
        "capabilities": parse_capabilities("c", {}),
    }
    return Process(**(given | changed))


def run(folder: Path, *arguments: str, **changed: Any) -> subprocess.CompletedProcess[str]:
    file = folder / "launcher"
    file.write_bytes(render_launcher(process(**changed), architecture="amd64"))
    file.chmod(0o755)
    return subprocess.run([file, *arguments], capture_output=True, text=True, check=False)


def mask(*names: str) -> str:
    return f"{sum(1 << NUMBERS[f'CAP_{name}'] for name in names):016x}"


def seen(folder: Path, **changed: Any) -> Any:
    return json.loads(run(folder, "name", "-c", SHOW, "a b", "", "$x%n", **changed).stdout)


DEFAULT = tuple(name.removeprefix("CAP_") for name in DEFAULT_CAPABILITIES)


def test_the_numbers_of_capabilities_are_those_of_the_kernel() -> None:
    assert set(NUMBERS) == {*DEFAULT_CAPABILITIES, *OTHER_CAPABILITIES}
    names = ("CHOWN", "SETPCAP", "SYS_ADMIN", "SETFCAP", "BPF")
    assert [NUMBERS[f"CAP_{name}"] for name in names] == [0, 8, 21, 31, 39]


@needs_root
def test_root_has_the_bounding_set_and_inherits_nothing(tmp_path: Path) -> None:
    ids, groups, sets, variables, directory, arguments = seen(tmp_path)
    assert (ids, groups, directory) == ([0] * 6, [], "/usr")
    assert sets == dict.fromkeys(("CapPrm", "CapEff", "CapBnd"), mask(*DEFAULT)) | dict.fromkeys(
        ("CapInh", "CapAmb"), mask()
    )
    assert variables == {"PATH": "/bin", "LC_ALL": "C.UTF-8"}
    assert arguments == ["a b", "", "$x%n"]


@needs_root
def test_another_user_has_its_groups_and_only_added_capabilities(tmp_path: Path) -> None:
    user = User(4711, 4712, (4712, 7, 4713), None)
    plain = seen(tmp_path, user=user)
    assert plain[:2] == [[4711] * 3 + [4712] * 3, ["7", "4712", "4713"]]
    assert plain[2] == dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapAmb"), mask()) | {"CapBnd": mask(*DEFAULT)}
    capabilities = parse_capabilities("c", {"NET_RAW": True, "CHOWN": False})
    added = seen(tmp_path, user=user, capabilities=capabilities)
    bounding = mask(*(set(DEFAULT) - {"CHOWN"}), "NET_RAW")
    assert added[2] == dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapAmb"), mask("NET_RAW")) | {"CapBnd": bounding}


@needs_root
def test_variables_may_be_anything_that_a_process_takes(tmp_path: Path) -> None:
    odd = {"a.b-c d": "\x01\n\\x41 %n $HOME", "EMPTY": "", "GRÜSSE": "容器"}
    assert seen(tmp_path, environment=odd | {"LC_ALL": "C.UTF-8"})[3] == odd | {"LC_ALL": "C.UTF-8"}


@needs_root
def test_arguments_of_the_table_replace_those_of_the_launcher(tmp_path: Path) -> None:
    done = run(tmp_path, "never", path="/bin/echo", argv=("echo", "one", "two"))
    assert (done.returncode, done.stdout) == (0, "one two\n")


@needs_root
@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"path": "/nowhere/program"}, 127),
        ({"directory": "/nowhere"}, 127),
        ({"path": "/etc/passwd"}, 126),
    ],
)
def test_what_cannot_be_started_has_the_exit_code_of_a_shell(
    tmp_path: Path, changed: dict[str, str], code: int
) -> None:
    assert run(tmp_path, "x", **changed).returncode == code


@needs_root
def test_a_container_runs_only_as_the_first_process_of_a_namespace(tmp_path: Path) -> None:
    """With a systemd that does not know PrivatePIDs=, the container would see and could kill the host's processes."""
    file = tmp_path / "launcher"
    shown = render_launcher(process(path="/bin/echo", argv=("echo", "ran"), first=True), architecture="amd64")
    file.write_bytes(shown)
    file.chmod(0o755)
    outside = subprocess.run([file], capture_output=True, text=True, check=False)
    assert (outside.returncode, outside.stdout) == (126, "")
    inside = subprocess.run(["unshare", "--pid", "--fork", file], capture_output=True, text=True, check=False)
    assert (inside.returncode, inside.stdout) == (0, "ran\n")


@needs_root
def test_paths_are_hidden_or_read_only_and_may_be_missing(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    (inner / "kept").mkdir(parents=True)
    (inner / "file").write_text("content")
    file = tmp_path / "launcher"
    paths = {"masked": (str(inner / "file"), "/nowhere/file"), "read_only": (str(inner / "kept"), "/nowhere/dir")}
    script = f"cat {inner}/file; touch {inner}/kept/x; touch {inner}/y"
    file.write_bytes(render_launcher(process(path="/bin/sh", argv=("sh", "-c", script), **paths), architecture="amd64"))
    file.chmod(0o755)
    done = subprocess.run(
        ["unshare", "--mount", "--propagation=private", file], capture_output=True, text=True, check=False
    )
    assert done.stdout == ""
    assert "kept/x" in done.stderr
    assert "Read-only file system" in done.stderr
    assert [each.name for each in sorted(inner.iterdir())] == ["file", "kept", "y"]


@needs_root
def test_mounts_get_their_options(tmp_path: Path) -> None:
    file, strict, loose = (tmp_path / name for name in ("launcher", "strict", "loose"))
    strict.mkdir()
    loose.mkdir()
    options = {str(strict): ("nosuid", "nodev", "noexec"), str(loose): ("suid", "dev", "exec")}
    shown = process(path="/bin/cat", argv=("cat", "/proc/self/mountinfo"), mount_options=options)
    file.write_bytes(render_launcher(shown, architecture="amd64"))
    file.chmod(0o755)
    mounts = f"mount -t tmpfs tmpfs {strict}; mount -t tmpfs -o nosuid,nodev,noexec tmpfs {loose}"
    command = ["unshare", "--mount", "--propagation=private", "sh", "-ec", f'{mounts}; exec "$0"', str(file)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    found = {line.split()[4]: set(line.split()[5].split(",")) for line in lines}
    flags = {"nosuid", "nodev", "noexec"}
    assert (found[str(strict)] & flags, found[str(loose)] & flags) == (flags, set())


@needs_root
def test_a_mount_whose_options_cannot_be_set_keeps_the_program_from_running(tmp_path: Path) -> None:
    done = run(tmp_path, "ran", path="/bin/echo", mount_options={"/nowhere": ("nosuid",)})
    assert (done.returncode != 0, done.stdout) == (True, "")


@pytest.mark.parametrize(
    ("architecture", "assemble", "copy"),
    [
        ("amd64", ["as", "--64"], ["objcopy"]),
        ("arm64", ["llvm-mc", "--triple=aarch64", "--filetype=obj"], ["llvm-objcopy"]),
    ],
)
def test_the_code_is_that_of_the_source(
    tmp_path: Path, architecture: str, assemble: list[str], copy: list[str]
) -> None:
    if shutil.which(assemble[0]) is None or shutil.which(copy[0]) is None:
        pytest.skip(f"{assemble[0]} and {copy[0]} are not installed")
    source = files("nixoci.units.launcher").joinpath(f"{architecture}.s").read_text("utf-8")
    (tmp_path / "source.s").write_text(source)
    subprocess.run([*assemble, "-o", tmp_path / "object", tmp_path / "source.s"], check=True)
    subprocess.run([*copy, "-O", "binary", "-j", ".text", tmp_path / "object", tmp_path / "code"], check=True)
    code = (tmp_path / "code").read_bytes()
    assert launcher._MACHINES[architecture].code == code
    assert len(code) % 8 == 0
    assert code in render_launcher(process(), architecture=architecture)
