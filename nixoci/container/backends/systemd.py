"""Restrictions of the systemd backend: no engine and no OCI runtime, only what units of systemd can express."""

from pathlib import PurePosixPath

from nixoci.container.backends.bundle import WithoutPodman, refusals_without_podman
from nixoci.container.backends.model import Refusal
from nixoci.container.capabilities import DEFAULT_CAPABILITIES
from nixoci.container.model import Notify, WritableLayer
from nixoci.container.parse import ParsedContainer
from nixoci.container.programs import find_program
from nixoci.container.resolve import ResolvedContainer
from nixoci.errors import ContainerError

ARCHITECTURES = frozenset({"amd64", "arm64"})
"""The architectures, by Go's names, of the program that starts a container's own (`nixoci.units.launcher`)."""

_WITHOUT_DEVICES = {"CAP_MKNOD", "CAP_SYS_RAWIO"}
"""The capabilities that PrivateDevices= takes away (systemd.exec(5))."""

_OF_BIND = {"ro", "rw", "bind", "rbind", "private", "rprivate", "exec", "noexec", "suid", "nosuid", "dev", "nodev"}
_OF_KERNEL = {"size", "nr_blocks", "nr_inodes", "mode", "uid", "gid"}
_OF_TMPFS = {"rw", "exec", "noexec", "suid", "nosuid", "dev", "nodev", "U", "notmpcopyup", "tmpcopyup", "rprivate"}


class SystemdRestrictions(WithoutPodman):
    """The restrictions of a plain service."""

    backend = "systemd"
    refusals = (
        *refusals_without_podman(backend, "settings.unit"),
        Refusal(
            option="runtime", allowed=(None,), reason="the systemd backend has no OCI runtime; use the bundle backend"
        ),
        Refusal(
            option="settings.runtime",
            allowed=({},),
            reason="the systemd backend has no config.json; use settings.unit, or the bundle backend",
        ),
        Refusal(
            option="writableLayer",
            allowed=(str(WritableLayer.VOLATILE),),
            reason="containers of the systemd backend start afresh; use volumes, or the bundle backend",
        ),
        Refusal(
            option="notify",
            allowed=(str(Notify.STARTED), str(Notify.CONTAINER)),
            reason="no command of a host can run while systemd starts a service in another root; use container or"
            " started, or the bundle backend",
        ),
        Refusal(
            option="environmentFiles",
            allowed=([],),
            reason="systemd reads such files by other rules than podman; use environment, or the bundle backend",
        ),
        Refusal(
            option="sysctls",
            allowed=({},),
            reason="systemd sets no kernel parameters of one service; use the bundle backend",
        ),
    )

    def check(self, container: ParsedContainer, *, user: bool) -> None:
        """Also refuse what systemd's own options cannot express."""
        super().check(container, user=user)
        for name in sorted(_WITHOUT_DEVICES & set(container.capabilities.bounding) - set(DEFAULT_CAPABILITIES)):
            raise ContainerError(
                f"{container.option('capabilities')}: systemd gives a service with devices of its own no {name}; drop"
                " it, or use the bundle backend"
            )
        if not container.resolver.servers and (container.resolver.search or container.resolver.options):
            field = "dnsSearch" if container.resolver.search else "dnsOptions"
            raise ContainerError(
                f"{container.option(field)}: the systemd backend writes resolv.conf as a whole; set dns as well"
            )
        for index, tmpfs in enumerate(container.tmpfs):
            names = {option.partition("=")[0] for option in tmpfs.options}
            if foreign := sorted(names - _OF_TMPFS - _OF_KERNEL - {"ro"}):
                raise ContainerError(
                    f"{container.option(f'tmpfs[{index}]')}: systemd mounts none with {foreign[0]!r}; leave it out"
                )
        for index, mount in enumerate(container.volumes):
            if foreign := sorted(mount.option_names - _OF_BIND):
                raise ContainerError(
                    f"{container.option(f'volumes[{index}]')}: systemd binds nothing with {foreign[0]!r}; leave it"
                    " out, or use the bundle backend"
                )

    def check_resolved(self, container: ResolvedContainer) -> None:
        """Also refuse an image of another architecture, and a program that is not there."""
        super().check_resolved(container)
        if container.parsed.timezone not in {None, "local"} and not container.has_zone:
            raise ContainerError(
                f"{container.option('timezone')}: the image has no file of {container.parsed.timezone!r}; use local,"
                " a zone that it has, or the bundle backend"
            )
        architecture = container.tree.image.config.architecture
        if architecture not in ARCHITECTURES:
            raise ContainerError(
                f"{container.option('image')}: the systemd backend starts programs for"
                f" {' and '.join(sorted(ARCHITECTURES))}, and this image is for {architecture}; use the bundle backend"
            )
        find_program(container, container.option("cmd"), container.args[0])
        if container.health is not None:
            find_program(container, container.option("healthcheck.test"), container.health.test.argv[0])
        for index, tmpfs in enumerate(container.parsed.tmpfs):
            inode = container.tree.find(tmpfs.target)
            copied = "notmpcopyup" not in tmpfs.options and inode is not None and inode.children
            if copied and not PurePosixPath(tmpfs.target).is_relative_to("/run"):
                raise ContainerError(
                    f"{container.option(f'tmpfs[{index}]')}: the image has files in {tmpfs.target}, which systemd does"
                    " not copy; add the option notmpcopyup, or use the bundle backend"
                )
