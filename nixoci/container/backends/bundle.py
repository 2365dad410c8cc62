"""Restrictions of the bundle backend: no engine, and so nothing that only podman makes."""

from operator import attrgetter

from nixoci.container.backends.model import Refusal, Restrictions
from nixoci.container.notation import Mount, Source
from nixoci.container.parse import ParsedContainer
from nixoci.errors import ContainerError

_WITHOUT = "the bundle backend runs without podman"

PODMAN_MOUNT_OPTIONS = frozenset(
    (
        *("z", "Z", "U", "O", "copy", "nocopy", "idmap", "upperdir", "workdir", "cached", "delegated"),
        *("no-dereference", "nocreate"),
    )
)
"""The mount options that podman itself implements (podman-run(1), `--volume`)."""


def _refusal(option: str, attribute: str, instead: str) -> Refusal:
    return Refusal(option, attrgetter(attribute), f"{_WITHOUT} and cannot honor it; {instead}")


class BundleRestrictions(Restrictions):
    """The restrictions of a bundle."""

    refusals = (
        _refusal("ports", "ports", 'use networks = ["host"] and let the program itself listen on the port'),
        _refusal("environmentFiles", "environment_files", "use environment, or secrets"),
        _refusal("extraOptions", "extra_options", "use settings.runtime"),
        _refusal("pod", "pod", "use another backend"),
        _refusal("privileged", "privileged", "use capabilities and devices"),
        _refusal("settings.quadlet", "settings.quadlet", "use settings.unit or settings.runtime"),
        Refusal(
            "settings.runtime.root",
            lambda container: "root" in container.settings.runtime,
            "the unit mounts the root so that the store stays as it is; use readOnly and writableLayer",
        ),
    )

    def check(self, container: ParsedContainer, *, user: bool) -> None:
        """Refuse units of a user, and networks and volumes that only podman makes."""
        if user:
            raise ContainerError(
                f"{container.option('backend')}: a bundle's tree is mounted by the system's own systemd, not by a"
                " user's; use podman"
            )
        if not (container.host_network or container.no_network):
            raise ContainerError(
                f"{container.option('networks')}: {_WITHOUT} and makes no networks; use"
                ' ["host"] to share the host\'s or ["none"]'
            )
        for index, mount in enumerate(container.volumes):
            _check_volume(container.option(f"volumes[{index}]"), mount)


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
