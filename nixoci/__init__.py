"""OCI container images as Nix store paths that unmodified podman, crun and systemd run in place."""
