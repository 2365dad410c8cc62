"""The test host: a real systemd with real podman, crun, Nix and registry, booted in seconds from a cached tree.

Only a real run shows that a container manager runs a store path unmodified. So the tests marked ``host`` do not imitate
podman or Nix: they boot a Debian system with both in a container of its own, and throw it away afterward. The parts
that are slow to make (the system's tree, the sample images) stay in the cache folder.
"""
