"""One booted machine: an overlay of the cached file system, in namespaces and cgroups of its own."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import time
import uuid
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.host import cgroups, leftovers
from tests.host.cache import cache_dir, locked
from tests.host.process import LONG, CommandError, run
from tests.host.python import CHECKOUT, COVERAGE, coverage_data, dependencies, install_checkout
from tests.host.rootfs import rootfs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

NAME = "nixoci-"
"""The prefix of the names of machines, their folders and their groups of processes."""

PLAIN = (
    *("nix", "home", "tmp", "var/tmp"),
    *("var/lib/containers", "var/lib/docker", "var/lib/containerd", "var/lib/registry"),
)
"""Folders that are not on the overlay: the overlays of engines and file-backed EROFS want a plain file system."""

IDLE_UNITS = (
    *("dev-hugepages.mount", "sys-kernel-config.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount"),
    *("modprobe@.service", "ldconfig.service", "systemd-journal-catalog-update.service", "systemd-sysusers.service"),
    "systemd-update-done.service",
)
"""Units of systemd that find nothing to do in a machine, and take a third of the processor time of its boot."""

IDLE_GENERATORS = tuple(
    f"systemd-{name}-generator"
    for name in ("debug", "factory-reset", "fstab", "getty", "gpt-auto", "hibernate-resume", "import", "run", "ssh")
)
"""Generators that generate nothing in a machine; each boot and each `systemctl daemon-reload` would run them all."""

VISIBLE = ("proc", "sys")
"""File systems of the kernel that a machine also has as a whole. systemd-nspawn covers files in its own, since version
257 /proc/keys too. No user namespace could mount another one then: rootless podman would fail, and Nix build without
its sandbox.
"""

ENVIRONMENT = {"PATH": "/opt/nixoci/bin:/usr/local/bin:/usr/bin:/usr/sbin", "LANG": "C.UTF-8"}
PASSED = ("GOGC",)
"""Variables of this process that the commands and the services of a machine have, too, if it has them."""

# Ends with this process or by any kill of its own, and then the kernel ends all that is in its process namespace, which
# is the machine. A mount namespace takes the overlay with it.
LAUNCHER = (
    *("setpriv", "--pdeathsig=KILL", "unshare", "--mount", "--propagation=private"),
    *("--pid", "--fork", "--kill-child", "--mount-proc"),
)
LAUNCH = """
set -eu
for group in $CGROUPS; do echo $$ > "$group/cgroup.procs"; done
[ -z "$LOWER" ] || mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$STATE/upper,workdir=$STATE/work" "$STATE/root"
exec systemd-nspawn "$@"
"""

# A command entered from outside would stay in the caller's cgroup, which the machine can't see; the shell adds PWD.
ENTER = 'echo $$ > "$0/cgroup.procs" && unset PWD && exec "$@"'
NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
SETPRIV = "/usr/bin/setpriv"


class Machine:
    """A throw-away machine with systemd, podman, Nix and this checkout's nixoci, as a context manager.

    Inside, ``/opt/nixoci/bin/nixoci`` is the checkout's command, ``/src`` the checkout (read-only), ``alice`` an
    ordinary user. `binds` and `writable` map more folders from outside to their place inside. `nix` is a folder to
    start with as /nix: the machine gets hard links to its store, or copies if not `link`, and copies of the rest.

    The network is its own, with nothing but loopback, unless `private_network` is false: then it is the outer
    machine's, which is what installing packages needs.

    `system` is the folder of another root file system, which the machine writes to; it has no Nix and no checkout.
    """

    def __init__(
        self,
        *,
        private_network: bool = True,
        binds: Mapping[Path, str] | None = None,
        writable: Mapping[Path, str] | None = None,
        nix: Path | None = None,
        link: bool = True,
        system: Path | None = None,
    ) -> None:
        self.name = f"{NAME}{uuid.uuid4().hex[:8]}"
        self.private_network = private_network
        self._system = system
        self._binds = ({} if system else {CHECKOUT: "/src"}) | dict(binds or {})
        self._writable = dict(writable or {})
        if data := coverage_data():
            self._writable[data] = COVERAGE
        self._nix, self._link = nix, link
        self._passed = {name: os.environ[name] for name in PASSED if name in os.environ}
        self._state = cache_dir() / "machines" / self.name
        self._cgroups = [group / self.name for group in cgroups.roots()]
        self._cleanup = ExitStack()
        self._running = ExitStack()
        self._leader = 0

    def __enter__(self) -> Self:
        with ExitStack() as cleanup:
            self._prepare(cleanup)
            cleanup.callback(self._power_off)
            self._boot()
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def reboot(self) -> None:
        """Cut the power and boot again: what is on the disks stays, and nothing else."""
        self._power_off()
        self._boot()

    @property
    def root(self) -> Path:
        """The machine's root directory as this process sees it, all of its mounts included."""
        return Path(f"/proc/{self._leader}/root")

    def take_nix(self, target: Path) -> None:
        """Cut the power and move the machine's /nix to a path in the cache folder; the machine cannot boot again."""
        self._power_off()
        run(["mv", str(self._state / "plain/nix"), str(target)], timeout=LONG)  # perhaps to another file system

    @property
    def leader(self) -> int:
        """The process id, outside, of the machine's systemd."""
        return self._leader

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        user: str | None = None,
        input: str | None = None,  # noqa: A002  # as subprocess.run names it
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        check: bool = True,
        timeout: float = 300.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as root or as `user`, and return what it wrote.

        Raises:
            CommandError: It failed (and `check` is true), or did not end within `timeout` seconds.
        """
        shown = [str(part) for part in argv]
        values = self._environment(user, env)
        command = self._enter(shown, user, cwd or values["HOME"])
        done = run(command, shown=shown, input=input, env=values, check=False, timeout=timeout)
        if check and done.returncode:
            raise CommandError(shown, f"exit code {done.returncode}", done.stdout, done.stderr)
        return done

    def command(
        self,
        argv: Sequence[str],
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> list[str]:
        """Return the argv that, run outside, runs a command inside, for callers that need a live process."""
        values = self._environment(user, env)
        clean = ["env", "--ignore-environment", *(f"{name}={value}" for name, value in values.items())]
        return [*clean, *self._enter(argv, user, cwd or values["HOME"])]

    def _environment(self, user: str | None, env: Mapping[str, str] | None) -> dict[str, str]:
        """Return the whole environment of a command inside."""
        values = ENVIRONMENT | self._passed | {"HOME": "/root", "USER": "root"}
        if user:
            uid = self._uid(user)
            values.update(HOME=f"/home/{user}", USER=user, XDG_RUNTIME_DIR=f"/run/user/{uid}")
            values.update(DBUS_SESSION_BUS_ADDRESS=f"unix:path=/run/user/{uid}/bus")
        return values | dict(env or {})

    def _enter(self, argv: Sequence[str], user: str | None, cwd: str) -> list[str]:
        """Return the argv that, run outside, runs a command inside; both have the same environment."""
        # nsenter stays outside as its parent: killing that must end the command
        become = [SETPRIV, "--pdeathsig=KILL"]
        if user:
            become += [f"--reuid={user}", f"--regid={user}", "--init-groups"]
        enter = [_nsenter(), f"--target={self._leader}", *NAMESPACES, f"--wdns={cwd}", "--", *become]
        return ["/bin/sh", "-c", ENTER, str(self._init_cgroup()), *enter, *argv]

    def used_space(self, folder: str) -> int:
        """Return the bytes on the disk below a directory, without what is mounted there.

        Engines remove things in the background; of those that go meanwhile, du complains, and counts the rest.
        """
        command = ["du", "--summarize", "--block-size=1", "--one-file-system", folder]
        return int(self.run(command, check=False).stdout.split()[0])

    def wait_for_unit(self, unit: str, *, user: str | None = None, timeout: float = 90.0) -> None:
        """Wait until a unit is active.

        Raises:
            CommandError: It failed, or is still not active after `timeout` seconds; the text holds its journal.
        """
        show = ["systemctl", *(["--user"] if user else []), "show", "--property=ActiveState", "--value", unit]
        deadline = time.monotonic() + timeout
        while (state := self.run(show, user=user).stdout.strip()) != "active":
            if state == "failed" or time.monotonic() > deadline:
                raise CommandError(show, f"{unit} is {state}", self.journal(unit, user=user), "")
            time.sleep(0.05)

    def journal(self, unit: str, *, user: str | None = None) -> str:
        """Return the log of a unit since the machine booted, with all that was written to it before the call."""
        self.run(["journalctl", "--sync"])  # journald may still have to read what a process that has ended wrote
        flag = "--user-unit" if user else "--unit"
        return self.run(["journalctl", "--no-pager", "--output=cat", f"{flag}={unit}"]).stdout

    def linger(self, user: str) -> None:
        """Start a user's own systemd, as a login would, and keep it."""
        self.run(["loginctl", "enable-linger", user])
        self.wait_for_unit(f"user@{self._uid(user)}.service")

    def _uid(self, user: str) -> int:
        for line in (self.root / "etc/passwd").read_text(encoding="utf-8").splitlines():
            name, _, uid, *_ = line.split(":")
            if name == user:
                return int(uid)
        raise KeyError(user)

    def _prepare(self, cleanup: ExitStack) -> None:
        machines = self._state.parent
        machines.mkdir(exist_ok=True)
        with locked(machines / ".lock"):
            leftovers.sweep(machines, NAME)
            self._state.mkdir()
            # held until the machine has ended, or this process, however it does
            handle = os.open(self._state, os.O_RDONLY)
            cleanup.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)
            leftovers.remove_when_unlocked(self._state, self._cgroups)
        if self._system is not None:
            self._identify(self._system)
            return
        root, upper = rootfs(), self._state / "upper"
        for name in ("upper", "work", "root"):
            (self._state / name).mkdir()
        for folder in PLAIN:
            plain = self._state / "plain" / folder
            plain.parent.mkdir(parents=True, exist_ok=True)
            if folder == "nix" and self._nix:
                _copy_nix(self._nix, plain, link=self._link)
            elif (root / folder).exists():
                run(["cp", "--archive", str(root / folder), str(plain)])
            else:
                plain.mkdir()
        install_checkout(root, upper)
        _mask(upper / "etc/systemd/system", IDLE_UNITS)
        _mask(upper / "etc/systemd/system-generators", IDLE_GENERATORS)
        if self._passed:
            _give_services(upper / "etc/systemd", self._passed)
        self._identify(upper)

    def _identify(self, root: Path) -> None:
        (root / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n", encoding="ascii")
        (root / "etc/hostname").write_text(f"{self.name}\n", encoding="ascii")
        if not self.private_network:
            shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")

    def _power_off(self) -> None:
        self._running.close()

    def _boot(self) -> None:
        with ExitStack() as cleanup:
            self._start(cleanup)
            self._running = cleanup.pop_all()

    def _start(self, cleanup: ExitStack) -> None:
        for group in self._cgroups:
            group.mkdir()
            cleanup.callback(cgroups.remove, group)
        plain = () if self._system else PLAIN
        binds = [f"--bind={self._state / 'plain' / folder}:/{folder}" for folder in plain]
        binds += [f"--bind-ro={outside}:{inside}" for outside, inside in self._binds.items()]
        binds += [f"--bind={outside}:{inside}" for outside, inside in self._writable.items()]
        options = [
            *("--quiet", "--boot", "--register=no", "--keep-unit", "--capability=all", "--console=passive"),
            *("--resolv-conf=off", "--timezone=off", "--link-journal=no"),
            *(f"--bind=/{api}:/run/outer/{api}:norbind" for api in VISIBLE),
            *(["--private-network"] if self.private_network else []),
            *binds,
            *("-D", str(self._system or self._state / "root"), f"--machine={self.name}"),
        ]
        env = os.environ | {
            "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",  # systemd refuses to boot on the legacy tree
            "SYSTEMD_SECCOMP": "0",
            "CGROUPS": " ".join(map(str, self._cgroups)),
            "LOWER": "" if self._system else f"{dependencies(rootfs())}:{rootfs()}",
            "STATE": str(self._state),
        }
        with (self._state / "console").open("wb") as console:
            process = subprocess.Popen(
                [*LAUNCHER, "sh", "-c", LAUNCH, "sh", *options],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=env,
            )
        cleanup.callback(self._end, process)
        self._wait_until_booted(process)

    def _wait_until_booted(self, process: subprocess.Popen[bytes], timeout: float = 60.0) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(OSError, ValueError):
                self._leader = _only_child(_only_child(process.pid))  # of systemd-nspawn, which is that of unshare
                if (self.root / "run/systemd/private").exists():
                    self.run(["systemctl", "is-system-running", "--wait"], check=False)
                    return
            time.sleep(0.02)
        console = (self._state / "console").read_text(encoding="utf-8", errors="replace")
        raise CommandError(["systemd-nspawn"], "the machine does not boot", console, "")

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Kill the machine: its state is thrown away, so nothing is gained by an orderly shutdown."""
        if self._leader and process.poll() is None:
            os.kill(self._leader, signal.SIGKILL)  # and the kernel everything else in its process namespace
        try:
            process.wait(timeout=60)  # a process that waits for a disk ends after that
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _init_cgroup(self) -> Path:
        """Return the group, as seen outside, of the machine's init."""
        lines = Path(f"/proc/{self._leader}/cgroup").read_text(encoding="ascii").splitlines()
        path = next(line for line in lines if line.startswith("0::")).removeprefix("0::/")
        return self._cgroups[0].parent / path


def _only_child(process: int) -> int:
    return int(Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii"))


@cache
def _nsenter() -> str:
    """Return this machine's nsenter, whatever PATH a command inside is given."""
    return shutil.which("nsenter") or "nsenter"


def _mask(folder: Path, names: Sequence[str]) -> None:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).symlink_to("/dev/null")


def _give_services(etc: Path, variables: Mapping[str, str]) -> None:
    """Give variables to the services of the system and of its users."""
    setting = " ".join(f"{name}={value}" for name, value in variables.items())
    for manager in ("system", "user"):
        folder = etc / f"{manager}.conf.d"
        folder.mkdir(parents=True)
        (folder / "variables.conf").write_text(f"[Manager]\nDefaultEnvironment={setting}\n", encoding="utf-8")


def _copy_nix(nix: Path, target: Path, *, link: bool) -> None:
    target.mkdir()
    how = ["--link"] if link else []
    run(["cp", "--archive", *how, str(nix / "store"), str(target)], timeout=LONG)
    run(["cp", "--archive", *(str(path) for path in nix.iterdir() if path.name != "store"), str(target)])
