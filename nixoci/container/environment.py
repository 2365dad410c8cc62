"""The environment variables of a container's process."""

from nixoci.container.resolve import DEFAULT_PATH, ResolvedContainer


def process_environment(container: ResolvedContainer) -> dict[str, str]:
    """Return the variables of a process that no engine starts: the image's and the container's, and those of podman."""
    environment = {"PATH": DEFAULT_PATH} | container.environment
    for name, value in (
        ("container", "oci"),
        ("HOME", container.user.home or container.workdir),
        ("HOSTNAME", container.hostname),
    ):
        environment.setdefault(name, value)
    if container.parsed.timezone is not None and container.has_zone:
        environment.setdefault("TZ", container.parsed.timezone)
    return environment
