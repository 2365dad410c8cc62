"""Restrictions of the backends without an engine, and so without what only podman makes; those of a bundle."""

from typing import ClassVar

from nixoci.container.backends.model import Refusal, Restrictions
from nixoci.container.model import Container, LogDriver
from nixoci.container.notation import Device, Mount, Source
from nixoci.container.parse import ParsedContainer
from nixoci.container.resolve import ResolvedContainer
from nixoci.errors import ContainerError
from nixoci.tree.model import Kind

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


def refusals_without_podman(backend: str, settings: str) -> tuple[Refusal, ...]:
    """Return the refusals of what only podman makes.

    Args:
        backend: The backend.
        settings: The option that passes more settings on.
    """

    def refusal(option: str, default: object, instead: str) -> Refusal:
        reason = f"the {backend} backend runs without podman and cannot honor it; {instead}"
        return Refusal(option=option, allowed=(default,), reason=reason)

    return (
        Refusal(
            option="backend",
            user=True,
            reason=f"the system's own systemd mounts the tree of a {backend} container, a user's cannot; use podman",
        ),
        refusal("ports", [], 'use networks = ["host"] and let the program itself listen on the port'),
        refusal("extraOptions", [], f"use {settings}"),
        refusal("pod", None, "use another backend"),
        refusal("privileged", default=False, instead="use capabilities and devices"),
        refusal(
            "init", default=False, instead="let the image have an init (tini, catatonit) and name it in entrypoint"
        ),
        refusal("logOptions", {}, "use settings.unit.Service, for example its SyslogIdentifier"),
        refusal("settings.quadlet", {}, f"use {' or '.join(dict.fromkeys(('settings.unit', settings)))}"),
        Refusal(
            option="logDriver",
            allowed=(None, str(LogDriver.JOURNALD)),
            reason=f"the {backend} backend writes to the journal; use settings.unit.Service.StandardOutput",
        ),
        Refusal(
            option="networks",
            allowed=(["host"], ["none"]),
            reason=(
                f"the {backend} backend runs without podman and makes no networks;"
                ' use ["host"] to share the host\'s or ["none"]'
            ),
        ),
    )


class WithoutPodman(Restrictions):
    """The restrictions that the backends without podman have in common; `backend` is the name of one."""

    backend: ClassVar[str]

    def check(self, container: ParsedContainer, *, user: bool) -> None:  # noqa: ARG002 - users have podman alone
        """Refuse namespaces, devices and volumes that only podman makes."""
        without = f"the {self.backend} backend runs without podman"
        if container.user_namespace is not None and container.user_namespace.mode != "host":
            raise ContainerError(
                f"{container.option('userNamespace')}: {without}, which maps the owners of the image's files; use"
                " another backend"
            )
        if container.extra_hosts and container.no_network and container.capabilities.may_mount:
            raise ContainerError(
                f"{container.option('extraHosts')}: a container that may mount (SYS_ADMIN) has the image's /etc/hosts;"
                " drop the capability, or mount a file there"
            )
        for index, device in enumerate(container.devices):
            _check_device(container.option(f"devices[{index}]"), device, without)
        for index, tmpfs in enumerate(container.tmpfs):
            if foreign := sorted(_NOT_OF_TMPFS & {name.partition("=")[0] for name in tmpfs.options}):
                raise ContainerError(
                    f"{container.option(f'tmpfs[{index}]')}: {foreign[0]!r} is no option of a file system in memory;"
                    " leave it out"
                )
        for index, mount in enumerate(container.volumes):
            _check_volume(container.option(f"volumes[{index}]"), mount, without)

    def check_resolved(self, container: ResolvedContainer) -> None:
        """Refuse a time zone that could only be mounted over a file that means another one."""
        etc = container.tree.find("/etc")
        link = etc is not None and (entry := etc.children.get(b"localtime")) is not None and entry.kind is Kind.SYMLINK
        if container.parsed.timezone is not None and link and not container.has_zone:
            raise ContainerError(
                f"{container.option('timezone')}: /etc/localtime of the image is a link to one of its own files, and it"
                f" has no file of {container.parsed.timezone!r}; name a zone that it has, or set TZ in environment"
            )


class BundleRestrictions(WithoutPodman):
    """The restrictions of a bundle."""

    backend = "bundle"
    refusals = (
        *refusals_without_podman(backend, "settings.runtime"),
        Refusal(
            option="settings.runtime.root",
            reason="the unit mounts the root so that the store stays as it is; use readOnly and writableLayer",
        ),
    )

    def check(self, container: ParsedContainer, *, user: bool) -> None:
        """Also refuse variables that another option replaces."""
        if container.declared.environment_files and _has_own_variables(container.declared):
            raise ContainerError(
                f"{container.option('settings.runtime.process.env')}: it would replace the variables of"
                " environmentFiles; use environment"
            )
        super().check(container, user=user)


def _has_own_variables(container: Container) -> bool:
    process = container.settings.runtime.get("process")
    return isinstance(process, dict) and "env" in process


def _check_device(option: str, device: Device, without: str) -> None:
    if device.is_cdi:
        raise ContainerError(f"{option}: {without}, which looks up CDI devices; name the device's files in /dev")
    if device.source in _DEVICE_DIRECTORIES:
        raise ContainerError(f"{option}: {device.source} is a directory; name each device in it")


def _check_volume(option: str, mount: Mount, without: str) -> None:
    if mount.kind is Source.DECLARED_VOLUME:
        raise ContainerError(
            f"{option}: volumes.{mount.source} is one of podman's, and {without}; use another name or a path"
        )
    if mount.kind is Source.ANONYMOUS_VOLUME:
        raise ContainerError(f"{option}: {without} and has no anonymous volumes; give it a name or a path")
    if foreign := sorted(PODMAN_MOUNT_OPTIONS & mount.option_names):
        raise ContainerError(f"{option}: {without} and lacks its option {foreign[0]!r}; leave it out")
