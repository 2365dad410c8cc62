"""Configurations of Docker that keep images elsewhere, and a dockerd that runs."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nixoci.engines.docker import daemon as module
from nixoci.engines.docker.daemon import DaemonConfig, check_storage, read_config, running_daemon, service_arguments
from nixoci.engines.docker.data_root import DataRoot
from nixoci.errors import DocumentError, StoreError
from tests.units.samples import executable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NONE = DaemonConfig()


def test_without_the_usual_file_all_is_as_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONFIG_FILE", tmp_path / "none.json")
    assert read_config(None) == NONE


def test_the_file_is_dockers(tmp_path: Path) -> None:
    (tmp_path / "daemon.json").write_text('{"data-root": "/d", "debug": true, "features": {"buildkit": true}}')
    config = read_config(tmp_path / "daemon.json")
    assert (config.data_root, config.features) == ("/d", {"buildkit": True})
    (tmp_path / "daemon.json").write_text('{"data-root": 1}')
    with pytest.raises(DocumentError, match=r"daemon\.json: data-root: expected a string"):
        read_config(tmp_path / "daemon.json")


def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: str) -> list[str]:
    """Return the arguments that docker.service gives, as systemctl shows it."""
    executable(tmp_path / "systemctl", f"#!/bin/sh\n[ $1 = show ] && cat <<'END'\n{shown}\nEND\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return service_arguments()


EXEC_START = (
    "ExecStart={{ path=/p/bin/dockerd ; argv[]=/p/bin/dockerd {} ; ignore_errors=no ; start_time=[n/a] ;"
    " stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }}"
)


def test_the_service_names_the_file_and_the_data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "settings.json"
    file.write_text('{"data-root": "/d", "storage-driver": "overlay2"}')
    words = service(tmp_path, monkeypatch, EXEC_START.format(f"-H fd:// --config-file={file}"))
    assert read_config(None, words) == DaemonConfig(data_root="/d", storage_driver="overlay2")
    words = service(tmp_path, monkeypatch, EXEC_START.format("--config-file /dev/null --data-root /e -s btrfs"))
    assert read_config(None, words) == DaemonConfig(data_root="/e", storage_driver="btrfs")
    words = service(tmp_path, monkeypatch, EXEC_START.format("--userns-remap=default --feature=containerd-snapshotter"))
    config = read_config(Path("/dev/null"), words)
    assert config == DaemonConfig(userns_remap="default", features={"containerd-snapshotter": True})


@pytest.mark.parametrize("text", ["", " \n", "\ufeff", '\ufeff{"data-root": ""}'])
def test_an_empty_file_configures_nothing(tmp_path: Path, text: str) -> None:
    file = tmp_path / "daemon.json"
    file.write_text(text, encoding="utf-8")
    assert read_config(file) == NONE


@pytest.mark.parametrize("by_service", [False, True])
def test_a_file_that_is_named_has_to_be_there(tmp_path: Path, *, by_service: bool) -> None:
    file = tmp_path / "daemon.json"
    with pytest.raises(StoreError, match=f"^{file}: there is no such file, without which dockerd does not start; "):
        read_config(None if by_service else file, [f"--config-file={file}"] if by_service else [])


def test_the_files_of_a_machine_that_is_being_built_are_in_its_root(tmp_path: Path) -> None:
    assert read_config(None, machine=tmp_path) == NONE
    with pytest.raises(StoreError, match=f"^{tmp_path}/etc/other.json: there is no such file, .*, or leave it out "):
        read_config(Path("/etc/other.json"), machine=tmp_path)
    (tmp_path / "etc/docker").mkdir(parents=True)
    (tmp_path / "etc/docker/daemon.json").write_text('{"data-root": "/d"}')
    assert read_config(None, machine=tmp_path) == DaemonConfig(data_root="/d")
    (tmp_path / "etc/other.json").write_text('{"data-root": "/e"}')
    assert read_config(Path("/etc/other.json"), machine=tmp_path) == DaemonConfig(data_root="/e")


def test_a_service_that_systemd_does_not_know_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert service(tmp_path, monkeypatch, "ExecStart=") == []
    assert service(tmp_path, monkeypatch, EXEC_START.format("-D").replace("dockerd", "wrapper")) == []
    executable(tmp_path / "systemctl", "#!/bin/sh\nexit 1\n")
    assert service_arguments() == []


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (DaemonConfig(features={"containerd-snapshotter": True}), "nixoci register containerd STORE --namespace moby"),
        (DaemonConfig(storage_driver="btrfs"), "its storage driver is btrfs, and only overlay2 takes images"),
        (DaemonConfig(userns_remap="default"), r"maps users \(userns-remap=default\)"),
    ],
)
def test_a_configuration_is_refused_by_name(tmp_path: Path, config: DaemonConfig, says: str) -> None:
    with pytest.raises(StoreError, match=says):
        check_storage(DataRoot(path=tmp_path), config)


def make(*paths: str) -> Callable[[Path], None]:
    def make_below(root: Path) -> None:
        for path in paths:
            (root / path).mkdir(parents=True)

    return make_below


@pytest.mark.parametrize(
    ("layout", "says"),
    [
        (make("containers", "buildkit/containerd-overlayfs"), "keeps its images in containerd; `nixoci register"),
        (make("image/zfs", "zfs/abc"), "storage driver is zfs here, and only overlay2"),
        (make("image/vfs", "vfs/dir"), "storage driver is vfs here"),
        # dockerd takes what is there for its driver, and refuses to start with two
        (make("fuse-overlayfs/abc"), "storage driver is fuse-overlayfs here"),
        (make("image/overlay2", "overlay2/l", "btrfs/subvolumes"), "storage driver is btrfs here"),
    ],
)
def test_a_data_root_of_another_driver_is_refused(tmp_path: Path, layout: Callable[[Path], None], says: str) -> None:
    layout(tmp_path)
    with pytest.raises(StoreError, match=says):
        check_storage(DataRoot(path=tmp_path), NONE)


@pytest.mark.parametrize(
    "layout",
    [
        make(),
        make("image/overlay2", "overlay2/l", "containers"),
        make("image/overlay2", "overlay2/l", "image/vfs", "vfs/dir", "btrfs"),
    ],
)
def test_a_data_root_of_overlay2_is_not(tmp_path: Path, layout: Callable[[Path], None]) -> None:
    layout(tmp_path)
    check_storage(DataRoot(path=tmp_path), NONE)
    (tmp_path / "zfs/abc").mkdir(parents=True)
    check_storage(DataRoot(path=tmp_path), DaemonConfig(storage_driver="overlay2"))


def test_the_data_root_of_mapped_users_is_refused(tmp_path: Path) -> None:
    (tmp_path / "100000.100000/image/overlay2").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"userns-remap=100000\.100000"):
        check_storage(DataRoot(path=tmp_path / "100000.100000"), NONE)
    check_storage(DataRoot(path=tmp_path), DaemonConfig(storage_driver="overlay2"))


def is_running(root: Path, pid: int | str = "", config: DaemonConfig = NONE) -> bool:
    file = root.parent / "docker.pid"
    file.write_text(f"{pid}")
    return running_daemon(DataRoot(path=root), config, pid_file=file)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "docker/volumes").mkdir(parents=True)
    return tmp_path / "docker"


def test_a_locked_list_of_volumes_is_a_running_dockerd(root: Path) -> None:
    assert not is_running(root)
    file = root / "volumes/metadata.db"
    file.touch()
    assert not is_running(root)
    handle = os.open(file, os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)  # as boltdb does
    assert is_running(root)
    os.close(handle)
    assert not is_running(root)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Start programs with the name and the arguments of a dockerd."""
    started = []
    (tmp_path / "dockerd").symlink_to(sys.executable)

    def start(*arguments: str) -> int:
        command = [str(tmp_path / "dockerd"), "-c", "print(flush=True); import time; time.sleep(60)", *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process.pid

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_dockerd_that_starts_has_its_pid_file(root: Path, daemon: Callable[..., int]) -> None:
    config = DaemonConfig(data_root=str(root))
    assert is_running(root, daemon("-H", "fd://"), config)
    assert is_running(root, daemon(f"--data-root={root}"))
    assert is_running(root, daemon("--data-root", f"{root}/"))
    assert not is_running(root, daemon("-H", "fd://"))
    assert not is_running(root, daemon("--data-root=/elsewhere"), config)


def test_a_pid_file_of_another_program_says_nothing(root: Path) -> None:
    config = DaemonConfig(data_root=str(root))
    assert not is_running(root, os.getpid(), config)
    assert not is_running(root, "nonsense", config)
    assert not is_running(root, 2**22 + 1, config)
