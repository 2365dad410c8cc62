"""The restrictions of each backend, as data and two functions: one before and one after the image is known."""

from nixoci.container.backends.bundle import BundleRestrictions
from nixoci.container.backends.model import Restrictions
from nixoci.container.backends.podman import PodmanRestrictions, RootfsRestrictions
from nixoci.container.backends.systemd import SystemdRestrictions
from nixoci.container.model import Backend

RESTRICTIONS: dict[Backend, Restrictions] = {
    Backend.PODMAN: PodmanRestrictions(),
    Backend.ROOTFS: RootfsRestrictions(),
    Backend.BUNDLE: BundleRestrictions(),
    Backend.SYSTEMD: SystemdRestrictions(),
}
