"""The test host: a real systemd with real podman, crun, Nix and registry, booted in seconds from a cached tree.

A container manager is only known to run a store path unmodified once it has. So the tests marked ``host`` do not
imitate podman or Nix: they boot a Debian system with both, in a container of its own, throw it away afterwards, and
keep what is slow to make (the system's tree, the sample images) in the cache folder.
"""
