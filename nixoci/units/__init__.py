"""systemd units for a deployment: Quadlet files run through podman's own generator, and plain services for bundles."""
