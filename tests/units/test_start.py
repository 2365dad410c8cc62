from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from nixoci.container.places import bound_runtime
from nixoci.errors import ContainerError
from nixoci.tree.model import Children, Inode, Kind
from nixoci.units.directories import UnitsOutput
from nixoci.units.images import images_service
from nixoci.units.start import mount_table, script, start_lines, start_script, stop_script, volume_copies, volume_lines
from nixoci.units.tools import Tools
from tests.container.samples import make_image, resolved
from tests.units.samples import MOUNTED, ODD, OUTPUT, TOOLS, bundled, executable, noted, noting

ALL_OPTIONS: list[dict[str, Any]] = [
    {},
    {"runtime": "runc", "notify": "container"},
    {
        "writableLayer": "persistent",
        "networks": ["host"],
        "volumes": ["v:/data"],
        "secrets": {"s": {"source": "/s"}},
    },
]

PROGRAMS = ("mkdir", "systemd_tmpfiles", "cp", "mv", "mount", "mkfifo", "sleep", "umount", "rm")
BUNDLE = "--bundle=/out/share/nixoci/bundles/c"
CREATE = f"crun --cgroup-manager=disabled create {BUNDLE} --pid-file=RUN/pid c"
PIPE = "mkfifo -m 0666 RUN/log"


class Start:
    """A start or stop script with stand-ins for its programs, which note their arguments; `run` is below `path`."""

    def __init__(self, path: Path, text: str, *, shell: str = "sh", **values: str) -> None:
        self.path, self.shell = path, shell
        self.run = path / "run"
        path.mkdir(exist_ok=True)
        for name in PROGRAMS:
            self.program(name)
        # the process that crun has started is none of systemd's
        run = shlex.quote(str(self.run))
        self.program("mkdir", f"mkdir -p {run}")
        self.program("mkfifo", 'shift 2; mkfifo "$1"')
        self.program("crun", f'[ "$1" != start ] || exit 0; [ ! -d {run} ] || echo 99999999 > {run}/pid; echo out')
        programs = {name: f"{path}/bin/{name}" for name in PROGRAMS}
        defaults = {"run": str(self.run), "state": f"{path}/state", "sh": "sh", "cat": "cat", "stop": f"{path}/stop"}
        defaults |= programs | {"runtime": f"{path}/bin/crun", "image": str(path)}
        defaults |= {"work": f"{self.run}/work"} if "\nwork=''\n" not in text else {}
        self.text = text
        for name, value in (defaults | values).items():
            line = f"{name}={shlex.quote(value)}".replace("\\", r"\\")
            self.text = re.sub(rf"(?m)^{name}=.*$", line, self.text)
        executable(path / "stop", "echo stop >> log\n")

    def program(self, name: str, more: str = "") -> None:
        """Replace a program by one that notes its arguments."""
        (self.path / "bin").mkdir(exist_ok=True)
        noting(self.path / "bin" / name, self.path / "log", more)

    def __call__(self) -> subprocess.CompletedProcess[str]:
        """Run the script, and all that it leaves behind."""
        file = self.path / "script"
        file.write_text(self.text)
        with (self.path / "stdout").open("w+") as out, (self.path / "stderr").open("w+") as error:
            # as systemd does: the script's end is seen first, and then that of the others
            group = subprocess.Popen([self.shell, file], cwd=self.path, stdout=out, stderr=error, process_group=0)
            code = group.wait(timeout=60)
            deadline = time.monotonic() + 60
            while _is_alive(group.pid):
                assert time.monotonic() < deadline, "processes are left"
                time.sleep(0.01)
            out.seek(0)
            error.seek(0)
            return subprocess.CompletedProcess([self.shell], code, out.read(), error.read())

    @property
    def words(self) -> list[list[str]]:
        """The calls of programs, each with its arguments."""
        return noted(self.path / "log")

    @property
    def calls(self) -> list[str]:
        """The calls of programs, each as one line, with `run` as RUN, and without the time that a start waits."""
        lines = [" ".join(words).replace(str(self.run), "RUN") for words in self.words]
        return [line for line in lines if line != "sleep 0.01"]


def _is_alive(group: int) -> bool:
    """Return whether a process group has a process that has not ended."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, found, *_ = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if found == str(group) and state != "Z":
            return True
    return False


def started(path: Path, *, shell: str = "sh", values: dict[str, str] | None = None, **options: Any) -> Start:
    container, made = bundled(path / "image", **options)
    return Start(path / "start", start_script(container, made, OUTPUT, image=MOUNTED), shell=shell, **(values or {}))


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_usual_start_creates_the_container_and_starts_it_when_the_script_has_ended(
    tmp_path: Path, shell: str
) -> None:
    start = started(tmp_path, shell=shell)
    done = start()
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "")
    assert start.calls == [
        "mkdir -p -m 0700 RUN RUN/work",
        "mount --all --fstab /out/share/nixoci/bundles/c/fstab",
        PIPE,
        CREATE,
        # systemd knows the main process by then
        "crun start c",
    ]


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_program_starts_after_the_script_has_left_the_process_table(tmp_path: Path, shell: str) -> None:
    start = started(tmp_path, shell=shell)
    gone = f'[ "$1" != start ] || [ -e "/proc/$(cat "{start.path}/id")" ] || echo gone >> "{start.path}/log"'
    start.program("crun", f'[ "$3" != {BUNDLE} ] || {{ echo 99999999 > "{start.run}/pid"; }}\n{gone}')
    start.program("mkfifo", f'shift 2; mkfifo "$1"; echo $PPID > "{start.path}/id"')
    start()
    assert start.calls[-2:] == ["crun start c", "gone"]


def test_a_container_that_cannot_be_started_is_killed(tmp_path: Path) -> None:
    start = started(tmp_path)
    sleeping = subprocess.Popen(["sleep", "600"])
    start.program("crun", f'[ "$1" != start ] || exit 1; echo {sleeping.pid} > "{start.run}/pid"')
    # systemd is not the parent of that process
    start.text = start.text.replace("until adopted", "until :")
    assert start().returncode == 0
    assert sleeping.wait(timeout=60) == -9


def test_the_directories_are_made_with_the_usual_umask(tmp_path: Path) -> None:
    start = started(tmp_path)
    start.program("mount", f'umask >> "{start.path}/log"')
    start()
    assert start.calls[2] == "0022"


def test_what_a_start_that_was_killed_left_is_removed_first(tmp_path: Path) -> None:
    start = started(tmp_path)
    start.run.mkdir()
    assert start().returncode == 0
    assert start.calls[0] == "stop"
    known = started(tmp_path / "known")
    (known.path / "state").touch()
    known()
    assert known.calls[0] == "stop"


def test_secrets_and_persistent_layers_need_systemd_tmpfiles_before_the_mount(tmp_path: Path) -> None:
    more: list[dict[str, Any]] = [{"secrets": {"s": {"source": "/s"}}}, {"writableLayer": "persistent"}]
    for number, options in enumerate(more):
        (tmp_path / str(number)).mkdir()
        start = started(tmp_path / str(number), **options)
        assert start().returncode == 0
        assert start.calls[:3] == [
            "mkdir -p -m 0700 RUN RUN/work" if number == 0 else "mkdir -p -m 0700 RUN",
            "systemd_tmpfiles --create /out/share/nixoci/tmpfiles/c.conf",
            "mount --all --fstab /out/share/nixoci/bundles/c/fstab",
        ]


def test_a_layer_that_cannot_be_mounted_is_explained(tmp_path: Path) -> None:
    start = started(tmp_path, writableLayer="persistent")
    start.program("mount", "exit 32")
    done = start()
    assert done.returncode == 32
    assert done.stderr.startswith("error: containers.c.writableLayer: the root was not mounted")
    volatile = started(tmp_path / "volatile")
    volatile.program("mount", "exit 32")
    done = volatile()
    assert (done.returncode, done.stderr) == (32, "")


def test_crun_is_executed_from_its_read_only_mount_if_it_is_there(tmp_path: Path) -> None:
    start = started(tmp_path, values={"bound": str(tmp_path / "bound")})
    start.program("crun", "exit 1")
    (tmp_path / "bound").mkdir()
    executable(
        tmp_path / "bound/crun", f'#!/bin/sh\necho bound >> "{start.path}/log"\necho 99999999 > "{start.run}/pid"\n'
    )
    assert start().returncode == 0
    assert start.calls[-2:] == ["bound", "bound"]
    absent = started(tmp_path / "absent", values={"bound": str(tmp_path / "nowhere")})
    assert absent().returncode == 0
    assert absent.calls[-1] == "crun start c"


@pytest.mark.parametrize("folder", ["plain", "$x", "c r;un", "it's", "$(cr`u)n"])
def test_any_path_of_crun_is_that_path_in_the_start(tmp_path: Path, folder: str) -> None:
    crun = tmp_path / folder / "crun"
    crun.parent.mkdir()
    container, made = bundled(tmp_path / "image")
    output = replace(OUTPUT, tools=replace(TOOLS, crun=str(crun)))
    start = Start(tmp_path / "start", start_script(container, made, output, image=MOUNTED), runtime=str(crun))
    executable(crun, f'#!/bin/sh\necho called >> "{start.path}/log"\necho 99999999 > "{start.run}/pid"\n')
    assert f"runtime={shlex.quote(str(crun))}\n" in start_script(container, made, output, image=MOUNTED)
    assert start().returncode == 0
    assert start.calls[-2:] == ["called", "called"]


@pytest.mark.parametrize("options", ALL_OPTIONS, ids=str)
def test_every_variable_of_a_script_has_its_value_whatever_its_characters(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    tools = Tools(**{field.name: f"/{ODD}/{field.name}" for field in fields(Tools)})
    output = UnitsOutput(out=Path("/out", ODD), tools=tools)
    container, made = bundled(tmp_path / "image", **options)
    bundle = output.bundle("c")
    programs = ["sh", "mkdir", "systemd_tmpfiles", "cp", "mv", "mount", "umount", "rm", "mkfifo", "cat", "sleep"]
    values = {name: getattr(tools, name) for name in programs}
    values |= {"runtime": getattr(tools, options.get("runtime", "crun")), "bundle": bundle, "stop": bundle / "stop"}
    values |= {"fstab": bundle / "fstab", "tmpfiles": output.start_tmpfiles("c")}
    values |= {"volume_tmpfiles": output.volume_tmpfiles("c"), "bound": bound_runtime(tools.crun)}
    for text in (
        start_script(container, made, output, image=MOUNTED),
        stop_script(container, made, output, image=MOUNTED),
    ):
        variables = text.split("\n\n")[1]
        names = [line.partition("=")[0] for line in variables.splitlines()]
        show = "\n".join(f'printf "%s\\n" "${name}"' for name in names)
        done = subprocess.run(
            ["sh", "-euc", f"{variables}\n{show}"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        found = dict(zip(names, done.stdout.splitlines(), strict=True))
        assert {"runtime", "rm"} <= found.keys()
        for name, value in found.items():
            assert value in {"", str(values.get(name, value))}
            assert (ODD in value) == (name in values and value != ""), name


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("notify", ["started", "container"])
def test_every_program_and_path_of_a_start_is_one_word(tmp_path: Path, notify: str, shell: str) -> None:
    folder = tmp_path / ODD
    for made in ("start/bound", "start/image", "gcroots"):
        (folder / made).mkdir(parents=True)
    options = ALL_OPTIONS[-1] | {"notify": notify}
    text = start_script(*bundled(tmp_path / "image", **options), OUTPUT, image=MOUNTED)
    paths = ("tmpfiles", "fstab", "bundle", "stop", "state", "bound", "image", "volume_tmpfiles")
    values = {name: f"{folder}/start/{name}" for name in paths} | {"gc_roots": f"{folder}/gcroots/nixoci/c"}
    values |= {"name": ODD, "runtime_option": f"--option={ODD}", "kept": "aaa-image", "volumes": "/nowhere/v"}
    values["copies"] = f"/nowhere/v:{folder}/of the image"
    values |= {name: f"{folder}/start/bin/{name}" for name in ("sh", "cat")}
    start = Start(folder / "start", text, shell=shell, **values)
    start.program("sh", 'exec sh "$@"')
    start.program("cat", 'exec cat "$@"')
    start.program("mkdir", 'mkdir "$@"')
    if notify == "container":
        start.run.mkdir()
    else:
        (start.path / "state").touch()
    executable(start.path / "bound/crun", (start.path / "bin/crun").read_text())
    done = start()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("out\n")
    crun, bundle = ["crun", f"--option={ODD}"], f"--bundle={values['bundle']}"
    created = [*crun, "create", bundle, f"--pid-file={start.run}/pid", ODD]
    assert [words for words in start.words if words not in (["cat"], ["sleep", "0.01"])] == [
        ["sh", values["stop"]],
        ["stop"],
        ["mkdir", "-p", values["gc_roots"]],
        ["mkdir", "-p", "-m", "0700", str(start.run)],
        ["systemd_tmpfiles", "--create", values["tmpfiles"]],
        ["mount", "--all", "--fstab", values["fstab"]],
        ["systemd_tmpfiles", "--create", values["volume_tmpfiles"]],
        ["rm", "--recursive", "--force", "/nowhere/.v:run"],
        [
            "cp",
            "--archive",
            "--no-preserve=context",
            "--no-target-directory",
            f"{folder}/of the image",
            "/nowhere/.v:run",
        ],
        ["mv", "--no-target-directory", "/nowhere/.v:run", "/nowhere/v"],
        ["mkfifo", "-m", "0666", f"{start.run}/log"],
        *([[*crun, "run", bundle, ODD]] if notify == "container" else [created, ["crun", "start", ODD]]),
    ]
    assert ["cat"] in start.words
    assert [file.name for file in Path(values["gc_roots"]).iterdir()] == ["aaa-image"]
    assert (start.run / "resolv.conf").exists()
    assert not list(tmp_path.rglob("touched"))


def test_a_start_sleeps_while_the_process_is_anothers_child(tmp_path: Path) -> None:
    start = started(tmp_path / ODD)
    with subprocess.Popen(["sh", "-c", "sleep 10 & echo $!; wait"], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        start.program("crun", f"echo {pid} > {shlex.quote(str(start.run))}/pid")
        start.program("sleep", f"kill {pid} || :")
        assert start().returncode == 0
    assert ["sleep", "0.01"] in start.words


def test_every_program_and_path_of_a_stop_is_one_word(tmp_path: Path) -> None:
    folder = tmp_path / ODD
    folder.mkdir()
    paths = ("root", "gc_roots")
    values = {name: f"{folder}/stop/{name}" for name in paths} | {"name": ODD, "kept": "aaa bbb"}
    stop = Start(folder / "stop", stop_script(*bundled(tmp_path / "image"), OUTPUT, image=MOUNTED), **values)
    done = stop()
    assert (done.returncode, done.stderr) == (0, "")
    roots = [f"{values['gc_roots']}/aaa", f"{values['gc_roots']}/bbb"]
    assert stop.words == [
        ["crun", "delete", "--force", ODD],
        ["umount", "--lazy", values["root"]],
        ["rm", "--recursive", "--force", "--one-file-system", str(stop.run), *roots],
    ]


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_runtime_that_fails_fails_the_start_with_its_exit_code(tmp_path: Path, shell: str) -> None:
    start = started(tmp_path, shell=shell)
    start.program("crun", "echo why >&2; exit 7")
    done = start()
    assert (done.returncode, done.stdout) == (7, "why\n")


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_container_that_reports_itself_runs_in_the_foreground_with_its_output_in_a_pipe(
    tmp_path: Path, shell: str
) -> None:
    start = started(tmp_path, shell=shell, notify="container")
    start.program("crun", 'echo out; echo error >&2; [ -p "$PWD/run/log" ]')
    done = start()
    assert (done.returncode, sorted(done.stdout.split()), done.stderr) == (0, ["error", "out"], "")
    assert start.calls[-2:] == [PIPE, f"crun --cgroup-manager=disabled run {BUNDLE} c"]


def test_a_directory_of_devices_is_refused_by_its_name(tmp_path: Path) -> None:
    start = started(tmp_path, devices=["/dev/mine"], values={"devices": f"{tmp_path}/none {tmp_path}"})
    done = start()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: containers.c.devices: {tmp_path} is a directory; name each device in it\n"
    assert "devices='/dev/a /dev/b'\n" in start_script(
        *bundled(tmp_path / "named", devices=["/dev/a", "/dev/b:/dev/c"]), OUTPUT, image=MOUNTED
    )


@pytest.mark.parametrize("missing", ["", "v", "w"])
def test_volumes_are_made_if_one_is_missing(tmp_path: Path, missing: str) -> None:
    for name in {"v", "w"} - {missing}:
        (tmp_path / name).mkdir()
    values = {"volumes": f"{tmp_path}/v {tmp_path}/w", "copies": f"{tmp_path}/v:/image/data"}
    start = started(tmp_path, volumes=["v:/data", "w:/w"], values=values)
    assert "volumes='/var/lib/nixoci/volumes/v /var/lib/nixoci/volumes/w'" in start_script(
        *bundled(tmp_path / "again", volumes=["v:/data", "w:/w"]), OUTPUT, image=MOUNTED
    )
    assert start().returncode == 0
    made = [words[0] for words in start.words if words[0] in {"systemd_tmpfiles", "rm", "cp", "mv"}]
    assert made == {"": [], "v": ["systemd_tmpfiles", "rm", "cp", "mv"], "w": ["systemd_tmpfiles"]}[missing]
    assert ["systemd_tmpfiles", "--create", "/out/share/nixoci/tmpfiles/volumes/c.conf"] in start.words or not missing


def test_an_image_that_is_not_mounted_fails_the_start_before_anything_is_made(tmp_path: Path) -> None:
    start = started(tmp_path, values={"image": f"{tmp_path}/nowhere"})
    done = start()
    assert (done.returncode, done.stdout, (tmp_path / "start/log").exists()) == (1, "", False)
    assert done.stderr == ("error: containers.c.image: it is not mounted; run: systemctl restart nixoci-images\n")


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("lines", [0, 1, 99, 100, 101, 5000])
def test_a_start_copies_the_hosts_files_whole(tmp_path: Path, lines: int, shell: str) -> None:
    text = "".join(f"127.0.0.{n} a\\nb\t {n} \n" for n in range(lines))
    script = start_script(*bundled(tmp_path, networks=["host"]), OUTPUT, image=MOUNTED)
    assert "host_files='hosts resolv.conf'\n" in script
    (tmp_path / ODD).mkdir()
    cat = executable(tmp_path / ODD / "cat", "#!/bin/sh\nexec cat\n")
    function = f"cat={shlex.quote(cat)}\n{script[script.index('copy() {') : script.index('for file in $host_files')]}"
    for end in ("", "last"):  # with or without a newline
        (tmp_path / "hosts").write_text(text + end)
        copied = subprocess.run(
            [shell, "-euc", f'{function}copy "$0"', tmp_path / "hosts"], check=True, capture_output=True, text=True
        ).stdout
        assert copied.removesuffix("\n") == (text + end).removesuffix("\n")
    absent = [shell, "-euc", f"{function}copy /nowhere; echo on"]
    assert subprocess.run(absent, check=True, capture_output=True, text=True).stdout == "on\n"


def test_a_container_on_the_hosts_network_gets_the_hosts_files(tmp_path: Path) -> None:
    start = started(tmp_path, networks=["host"])
    assert start().returncode == 0
    assert (start.run / "hosts").read_text().splitlines() == Path("/etc/hosts").read_text("utf-8").splitlines()
    assert (start.run / "resolv.conf").exists()


def test_a_stop_removes_all_that_a_start_made_and_goes_on_after_a_failure(tmp_path: Path) -> None:
    text = stop_script(*bundled(tmp_path / "image"), OUTPUT, image=MOUNTED)
    assert "root=/run/nixoci/c/root" in text.splitlines()
    stop = Start(tmp_path / "stop", text)
    for name in ("crun", "umount", "rm"):
        stop.program(name, "exit 1")
    assert stop().returncode == 0
    assert stop.calls == [
        "crun delete --force c",
        "umount --lazy /run/nixoci/c/root",
        "rm --recursive --force --one-file-system RUN /nix/var/nix/gcroots/nixoci/c/0123-store",
    ]


def test_a_stop_without_mounts_unmounts_nothing(tmp_path: Path) -> None:
    container, made = bundled(tmp_path / "image", runtime="runc")
    stop = Start(tmp_path / "stop", stop_script(container, made, OUTPUT, image=MOUNTED), root="")
    stop()
    assert not any(call.startswith("umount") for call in stop.calls)


def test_a_volatile_layer_is_mounted_over_its_own_upper_directory(tmp_path: Path) -> None:
    container, made = bundled(tmp_path)
    assert mount_table(container, made.root, image=MOUNTED) == (
        "overlay /run/nixoci/c/root overlay upperdir=/run/nixoci/c/root,workdir=/run/nixoci/c/work,"
        # the upper directory is that of / inside
        f"X-mount.mkdir=0755,nodev,metacopy=on,lowerdir={MOUNTED.point} 0 0\n"
    )
    assert "work=/run/nixoci/c/work\n" in start_script(container, made, OUTPUT, image=MOUNTED)
    # crun is executed from a read-only mount, else it would make one and execute itself again
    assert "bound=/run/nixoci/.runtime/c\n" in start_script(container, made, OUTPUT, image=MOUNTED)
    assert start_lines(container, made.root) == []


def test_a_read_only_bundle_runs_from_the_mounted_image(tmp_path: Path) -> None:
    container, made = bundled(tmp_path, readOnly=True)
    assert made.config["root"] == {"path": MOUNTED.point, "readonly": True}
    assert mount_table(container, made.root, image=MOUNTED) == ""
    script = start_script(container, made, OUTPUT, image=MOUNTED)
    assert {"fstab=''", "work=''", f"image={MOUNTED.point}"} <= set(script.splitlines())
    assert "root=''" in stop_script(container, made, OUTPUT, image=MOUNTED).splitlines()


def test_a_persistent_layer_and_volumes_are_made_by_systemd_tmpfiles(tmp_path: Path) -> None:
    container, made = bundled(tmp_path, writableLayer="persistent", volumes=["v:/data", "w:/not/there"])
    assert "upperdir=/var/lib/nixoci/c/upper" in mount_table(container, made.root, image=MOUNTED)
    assert "d /var/lib/nixoci/c/upper 0755 0 0 -" in start_lines(container, made.root)
    assert volume_lines(container) == [
        "d /var/lib/nixoci/volumes 0700 - - -",
        "d /var/lib/nixoci/volumes/w 0755 33 34 -",
    ]
    assert volume_copies(container, image=MOUNTED) == [
        "/var/lib/nixoci/volumes/v:/run/nixoci/images/0123-store-abc/data"
    ]


def test_a_working_directory_that_the_image_lacks_is_kept_with_a_persistent_layer(tmp_path: Path) -> None:
    container, made = bundled(tmp_path, writableLayer="persistent", workdir="/app/new")
    assert "d /var/lib/nixoci/c/workdir 0755 33 34 -" in start_lines(container, made.root)
    (mount,) = [each for each in made.config["mounts"] if each["destination"] == "/app/new"]
    assert (mount["type"], mount["source"]) == ("bind", "/var/lib/nixoci/c/workdir")


def test_a_new_volume_is_copied_from_the_image_alone_and_from_inside_of_it(tmp_path: Path) -> None:
    """A symlink of the image leads inside the image, and not to the host's directory of that name."""
    inside = {b"sub": Inode(Kind.DIRECTORY), b"loop": Inode(Kind.SYMLINK, 0o777, target=b"loop")}
    extra = {
        "link": Inode(Kind.SYMLINK, 0o777, target=b"/deep"),
        "deep": Inode(Kind.DIRECTORY, children=Children(inside)),
        "up": Inode(Kind.SYMLINK, 0o777, target=b"../../../../etc/../deep"),
        "top": Inode(Kind.SYMLINK, 0o777, target=b"/"),
    }
    volumes = ["a:/link/sub", "b:/up", "c:/deep/loop", "d:/link/none", "e:/top"]
    container = resolved(make_image(tmp_path, extra=extra), volumes=volumes, entrypoint=["x"])
    assert volume_copies(container, image=MOUNTED) == [
        "/var/lib/nixoci/volumes/a:/run/nixoci/images/0123-store-abc/deep/sub",
        "/var/lib/nixoci/volumes/b:/run/nixoci/images/0123-store-abc/deep",
        "/var/lib/nixoci/volumes/e:/run/nixoci/images/0123-store-abc",
    ]
    assert volume_lines(container)[1:] == [f"d /var/lib/nixoci/volumes/{name} 0755 0 0 -" for name in "cd"]


def test_a_start_keeps_the_image_and_its_own_scripts_in_the_store_and_a_stop_lets_go(tmp_path: Path) -> None:
    roots = tmp_path / "gcroots/nixoci/c"
    names = {"kept": "/nix/store/aaa-image /nix/store/bbb-nixoci-bundle", "gc_roots": str(roots)}
    start = started(tmp_path / "1", values=names)
    assert start().returncode == 0
    assert not any("gcroots" in call for call in start.calls)  # where there is no Nix, there are no roots
    roots.parent.parent.mkdir()
    start = started(tmp_path / "2", values=names)
    start.program("mkdir", 'mkdir "$@"')
    assert start().returncode == 0
    assert start.calls[0] == f"mkdir -p {roots}"
    assert {file.name: file.read_bytes() for file in roots.iterdir()} == {"aaa-image": b"", "bbb-nixoci-bundle": b""}
    # those of a unit that has changed, whose stop was the new one's; and names that are a part of another
    for old in ("ccc-old-image", "image", "aaa-imag", "a-image"):
        (roots / old).touch()
    again = started(tmp_path / "3", values=names)
    again.program("rm", 'rm "$@"')
    again()
    assert sorted(file.name for file in roots.iterdir()) == ["aaa-image", "bbb-nixoci-bundle"]
    once_more = started(tmp_path / "4", values=names)
    once_more()
    assert once_more.calls[0].startswith("mkdir -p -m 0700 RUN")
    container, made = bundled(tmp_path / "image")
    stop = Start(tmp_path / "stop", stop_script(container, made, OUTPUT, image=MOUNTED), **names)
    stop()
    run = "rm --recursive --force --one-file-system RUN"
    assert stop.calls[-1] == f"{run} {roots}/aaa-image {roots}/bbb-nixoci-bundle"


@pytest.mark.parametrize("crun", ["/a b/crun", "/a,b/crun", "/a:b/crun", "/a#b/crun", "/a\\b/crun", "crun"])
def test_crun_below_a_path_that_a_mount_table_cannot_hold_protects_itself(tmp_path: Path, crun: str) -> None:
    container, made = bundled(tmp_path)
    output = replace(OUTPUT, tools=replace(TOOLS, crun=crun))
    assert "\nbound=''\n" in start_script(container, made, output, image=MOUNTED)
    assert " start /m/mount /m/umount /b/rm --programs" not in images_service([], output.tools).render()


@pytest.mark.parametrize("name", ["a\nb", "a\x7fb", "\udcff"])
def test_a_new_volume_over_a_path_that_is_no_text_is_refused(tmp_path: Path, name: str) -> None:
    inside, target = os.fsencode(name), b"/deep/" + os.fsencode(name)
    deep = Inode(Kind.DIRECTORY, children=Children({inside: Inode(Kind.DIRECTORY)}))
    extra = {"deep": deep, "link": Inode(Kind.SYMLINK, 0o777, target=target)}
    container = resolved(make_image(tmp_path, extra=extra), volumes=["v:/link"], entrypoint=["x"])
    with pytest.raises(ContainerError, match=r"^containers\.c\.volumes: .* cannot be copied to a new volume"):
        volume_copies(container, image=MOUNTED)


def volumes_of(path: Path, *sources: Path, shell: str = "sh") -> Start:
    """Return a start that copies directories to the volumes `v0`, `v1`, ..., by the real programs."""
    folder = path / "volumes"
    folder.mkdir()
    copies = [f"{folder}/v{number}:{source}" for number, source in enumerate(sources)]
    values = {"copies": "\n".join(copies), "volumes": " ".join(copy.partition(":")[0] for copy in copies)}
    start = started(path, shell=shell, values=values)
    for name in ("cp", "mv", "rm"):
        start.program(name, f'{name} "$@"')
    return start


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_new_volume_is_a_full_copy_of_a_directory_of_any_name(tmp_path: Path, shell: str) -> None:
    sources = [tmp_path / name for name in (ODD, " a*b:c\\d% ", "é", "plain")]
    for source in sources:
        (source / "sub").mkdir(parents=True)
        (source / "sub/file").write_text(source.name)
        (source / "sub/link").hardlink_to(source / "sub/file")
        os.setxattr(source / "sub/file", "user.name", b"value")
        (source / "sub").chmod(0o1750)
        os.utime(source / "sub", (1, 1))
    start = volumes_of(tmp_path, *sources, shell=shell)
    done = start()
    assert (done.returncode, done.stderr) == (0, "")
    volumes = sorted((tmp_path / "volumes").iterdir())
    assert [volume.name for volume in volumes] == ["v0", "v1", "v2", "v3"]
    for volume, source in zip(volumes, sources, strict=True):
        file = volume / "sub/file"
        assert (file.read_text(), os.getxattr(file, "user.name")) == (source.name, b"value")
        assert file.samefile(volume / "sub/link")
        status = (volume / "sub").stat()
        assert (status.st_mode & 0o7777, status.st_mtime) == (0o1750, 1)
    called = len(start.words)
    (tmp_path / "volumes/v0/sub/file").unlink()
    assert start().returncode == 0
    assert not {"cp", "mv", "systemd_tmpfiles"} & {words[0] for words in start.words[called:]}
    assert not (tmp_path / "volumes/v0/sub/file").exists()


def test_a_copy_that_was_cut_short_is_made_again(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").touch()
    start = volumes_of(tmp_path, source)
    start.program("cp", 'mkdir -p "$5/half"; kill -9 $PPID')
    assert start().returncode == -signal.SIGKILL
    assert not (tmp_path / "volumes/v0").exists()
    start.program("cp", 'cp "$@"')
    assert start().returncode == 0
    assert [file.relative_to(tmp_path).as_posix() for file in (tmp_path / "volumes").rglob("*")] == [
        "volumes/v0",
        "volumes/v0/file",
    ]


@pytest.mark.parametrize("other", ["file", None])
def test_a_volume_that_another_start_made_meanwhile_stays(tmp_path: Path, other: str | None) -> None:
    source, volume = tmp_path / "source", tmp_path / "volumes/v0"
    source.mkdir()
    start = volumes_of(tmp_path, source)
    made = f"mkdir {volume}; touch {volume}/{other}; " if other else ""
    start.program("mv", f'{made}mv "$@"' if other else "exit 1")
    assert (start().returncode == 0) == (other is not None)
    assert [file.name for file in volume.parent.rglob("*")] == (["v0", "file"] if other else [])


@pytest.mark.parametrize(
    ("attributes", "lines"),
    [
        ({}, []),
        ({"mode": 0o1700}, []),
        ({"mode": 0o1777}, ["d /run/nixoci/c/root 1777 0 0 -"]),
        ({"mode": 0o2755}, ["d /run/nixoci/c/root 2755 0 0 -"]),
        ({"gid": 34}, ["d /run/nixoci/c/root 0755 0 34 -"]),
        ({"uid": 33, "mode": 0o1751}, ["d /run/nixoci/c/root 1751 33 0 -"]),
    ],
    ids=str,
)
def test_what_mkdir_cannot_give_the_root_systemd_tmpfiles_does(
    tmp_path: Path, attributes: dict[str, int], lines: list[str]
) -> None:
    container, made = bundled(tmp_path)
    for name, value in attributes.items():
        setattr(container.tree.root, name, value)
    assert start_lines(container, made.root) == lines
    mode = attributes.get("mode", 0o755)
    assert f",X-mount.mkdir={mode:04o}," in mount_table(container, made.root, image=MOUNTED)
    tmpfiles = "/out/share/nixoci/tmpfiles/c.conf" if lines else "''"
    assert f"\ntmpfiles={tmpfiles}\n" in start_script(container, made, OUTPUT, image=MOUNTED)


def test_a_container_of_systemd_gets_a_new_layer_and_its_work_directory_from_the_start_before(tmp_path: Path) -> None:
    names = ("image", "image_option", "image_unit", "gc_roots", "kept", "tmpfiles", "volumes", "copies")
    values = dict.fromkeys(names, "")
    programs = dict.fromkeys(("mkdir", "mount", "umount", "rm", "systemd_tmpfiles"), "")
    rest = {"run": "", "root": "x", "fstab": "/fstab", "work": "x", "volume_tmpfiles": ""}
    keep = Start(tmp_path, script("systemd-keep.sh", **values, **programs, **rest), root=f"{tmp_path}/run/root")
    keep.program("mkdir", f"mkdir -p {keep.run}/work")
    keep.program("mount", f"mkdir {keep.run}/root {keep.run}/work/work")
    keep.program("rm", 'rm "$@"')
    first = ["mkdir -p -m 0700 RUN RUN/work", "mount --all --fstab /fstab"]
    clean = ["umount --lazy RUN/root", "rm --recursive --force --one-file-system RUN/secrets RUN/root RUN/work/work"]
    assert (keep().returncode, keep.calls) == (0, first)
    assert (keep().returncode, keep.calls) == (0, [*first, *clean, first[1]])
