"""Container engines that run images from their mount points: each engine's own folder of a layer is a symlink to one.

roots       the roots of such links in the Nix store, shared by all engines
change      the fates of images and names
docker      Docker with its storage driver overlay2
containerd  containerd with its snapshotter overlayfs: for Kubernetes, Docker's containerd image store, and `ctr`
mstack      mount stacks of systemd, which need no engine
"""
