"""Write the containers, volumes, networks and pods that podman runs."""

from nixoci.bundle.root import is_plain
from nixoci.container.deployment import ResolvedDeployment
from nixoci.container.resolve import ResolvedContainer
from nixoci.errors import ContainerError
from nixoci.units.directories import UnitsOutput, write_unit
from nixoci.units.generator import generate
from nixoci.units.podman_objects import network_file, other_file, pod_file, volume_file
from nixoci.units.quadlet import container_file


def write_image_container(output: UnitsOutput, container: ResolvedContainer) -> list[str]:
    """Write the Quadlet file of a container that runs its image from the image store.

    Raises:
        ContainerError: The image store cannot be used, or Quadlet cannot express an option.
    """
    store = output.image_store
    if store is None:
        raise ContainerError(
            "imageStore: the podman backend runs images from an image store; name one made by `nixoci image-store`"
        )
    found = store.find(container.option("image"), container.tree.image)
    if output.user and found.erofs is not None:
        raise ContainerError(
            f"imageStore: {store.path} has EROFS files, which only root can mount; name one made by"
            " `nixoci image-store --rootless`"
        )
    write_unit(output.quadlets, container_file(container, output.tools, image_id=found.record.id, user=output.user))
    return []


def write_rootfs_container(output: UnitsOutput, container: ResolvedContainer) -> list[str]:
    """Write the Quadlet file of a container that runs the bare tree; return a warning if that loses something.

    Raises:
        ContainerError: Quadlet cannot express an option.
    """
    write_unit(output.quadlets, container_file(container, output.tools, image_id=None, user=output.user))
    if is_plain(container.tree.root):
        return []
    option = container.option("backend")
    lost = "the image has files of other owners, modes or capabilities than the store keeps"
    return [f"{option}: {lost}, which the rootfs backend runs without"]


def write_object_files(output: UnitsOutput, deployment: ResolvedDeployment) -> None:
    """Write the Quadlet files of volumes, networks and pods, and of `quadlets`.

    Raises:
        ContainerError: Quadlet cannot express an option.
    """
    declared, user = deployment.declared, output.user
    units = [volume_file(name, volume, user=user) for name, volume in declared.volumes.items()]
    units += [network_file(name, network, user=user) for name, network in declared.networks.items()]
    units += [pod_file(pod, user=user) for pod in deployment.parsed.pods]
    units += [other_file(name, quadlet, output.tools, user=user) for name, quadlet in declared.quadlets.items()]
    for unit in units:
        write_unit(output.quadlets, unit)


def generate_services(output: UnitsOutput, deployment: ResolvedDeployment) -> None:
    """Generate the services of all Quadlet files of a deployment, which are written.

    Raises:
        ContainerError: The generator refuses a file.
        ProcessError: The generator cannot be run.
    """
    if any(output.quadlets.iterdir()):
        options = {f"{each.parsed.service}.container": f"containers.{each.name}" for each in deployment.containers}
        options |= {name: f"quadlets.{name}" for name in deployment.declared.quadlets}
        generate(output.quadlets, output.units, output.tools, user=output.user, options=options)
