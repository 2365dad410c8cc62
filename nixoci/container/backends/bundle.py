"""Restrictions of the bundle backend: no engine, and so nothing that only podman makes."""

from nixoci.container.backends.model import Refusal, Restrictions
from nixoci.container.model import Container, LogDriver
from nixoci.container.notation import Device, Mount, Source
from nixoci.container.parse import ParsedContainer
from nixoci.container.resolve import ResolvedContainer
from nixoci.errors import ContainerError
from nixoci.tree.model import Kind

_WITHOUT = "the bundle backend runs without podman"

PODMAN_MOUNT_OPTIONS = frozenset(
    (
        *("z", "Z", "U", "O", "copy", "nocopy", "idmap", "upperdir", "workdir", "cached", "delegated"),
        *("no-dereference", "nocreate"),
    )
)
"""The mount options that podman itself implements (podman-run(1), `--volume`)."""

_NOT_OF_TMPFS = {"z", "Z", "O", "bind", "rbind", "idmap", "subpath", "no-dereference", "upperdir", "workdir"}
_DEVICE_DIRECTORIES = {
    f"/dev/{name}"
    for name in ("bus", "bus/usb", "dri", "dvb", "infiniband", "input", "mapper", "net", "snd", "v4l", "vfio")
}
"""The usual directories of devices; systemd allows single devices, and a start refuses other directories."""


def _refusal(option: str, default: object, instead: str) -> Refusal:
    return Refusal(option=option, allowed=(default,), reason=f"{_WITHOUT} and cannot honor it; {instead}")


class BundleRestrictions(Restrictions):
    """The restrictions of a bundle."""

    refusals = (
        Refusal(
            option="backend",
            user=True,
            reason="a bundle's tree is mounted by the system's own systemd, not by a user's; use podman",
        ),
        _refusal("ports", [], 'use networks = ["host"] and let the program itself listen on the port'),
        _refusal("extraOptions", [], "use settings.runtime"),
        _refusal("pod", None, "use another backend"),
        _refusal("privileged", default=False, instead="use capabilities and devices"),
        _refusal(
            "init", default=False, instead="let the image have an init (tini, catatonit) and name it in entrypoint"
        ),
        _refusal("logOptions", {}, "use settings.unit.Service, for example its SyslogIdentifier"),
        _refusal("settings.quadlet", {}, "use settings.unit or settings.runtime"),
        Refusal(
            option="settings.runtime.root",
            reason="the unit mounts the root so that the store stays as it is; use readOnly and writableLayer",
        ),
        Refusal(
            option="logDriver",
            allowed=(None, str(LogDriver.JOURNALD)),
            reason="a bundle's output goes to the journal; use settings.unit.Service.StandardOutput",
        ),
        Refusal(
            option="networks",
            allowed=(["host"], ["none"]),
            reason=f'{_WITHOUT} and makes no networks; use ["host"] to share the host\'s or ["none"]',
        ),
    )

    def check(self, container: ParsedContainer, *, user: bool) -> None:  # noqa: ARG002 - users have no bundles
        """Refuse variables that another option replaces, and namespaces, devices and volumes that only podman makes."""
        if container.declared.environment_files and _has_own_variables(container.declared):
            raise ContainerError(
                f"{container.option('settings.runtime.process.env')}: it would replace the variables of"
                " environmentFiles; use environment"
            )
        if container.user_namespace is not None and container.user_namespace.mode != "host":
            raise ContainerError(
                f"{container.option('userNamespace')}: {_WITHOUT}, which maps the owners of the image's files; use"
                " another backend"
            )
        if container.extra_hosts and container.no_network and container.capabilities.may_mount:
            raise ContainerError(
                f"{container.option('extraHosts')}: a container that may mount (SYS_ADMIN) has the image's /etc/hosts;"
                " drop the capability, or mount a file there"
            )
        for index, device in enumerate(container.devices):
            _check_device(container.option(f"devices[{index}]"), device)
        for index, tmpfs in enumerate(container.tmpfs):
            if foreign := sorted(_NOT_OF_TMPFS & {name.partition("=")[0] for name in tmpfs.options}):
                raise ContainerError(
                    f"{container.option(f'tmpfs[{index}]')}: {foreign[0]!r} is no option of a file system in memory;"
                    " leave it out"
                )
        for index, mount in enumerate(container.volumes):
            _check_volume(container.option(f"volumes[{index}]"), mount)

    def check_resolved(self, container: ResolvedContainer) -> None:
        """Refuse a time zone that could only be mounted over a file that means another one."""
        etc = container.tree.find("/etc")
        link = etc is not None and (entry := etc.children.get(b"localtime")) is not None and entry.kind is Kind.SYMLINK
        if container.parsed.timezone is not None and link and not container.has_zone:
            raise ContainerError(
                f"{container.option('timezone')}: /etc/localtime of the image is a link to one of its own files, and it"
                f" has no file of {container.parsed.timezone!r}; name a zone that it has, or set TZ in environment"
            )


def _has_own_variables(container: Container) -> bool:
    process = container.settings.runtime.get("process")
    return isinstance(process, dict) and "env" in process


def _check_device(option: str, device: Device) -> None:
    if device.is_cdi:
        raise ContainerError(f"{option}: {_WITHOUT}, which looks up CDI devices; name the device's files in /dev")
    if device.source in _DEVICE_DIRECTORIES:
        raise ContainerError(f"{option}: {device.source} is a directory; name each device in it")


def _check_volume(option: str, mount: Mount) -> None:
    if mount.kind is Source.DECLARED_VOLUME:
        raise ContainerError(
            f"{option}: volumes.{mount.source} is one of podman's, which a bundle runs without; use another name or"
            " a path"
        )
    if mount.kind is Source.ANONYMOUS_VOLUME:
        raise ContainerError(f"{option}: {_WITHOUT} and has no anonymous volumes; give it a name or a path")
    if foreign := sorted(PODMAN_MOUNT_OPTIONS & mount.option_names):
        raise ContainerError(f"{option}: {_WITHOUT} and lacks its option {foreign[0]!r}; leave it out")
