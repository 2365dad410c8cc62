"""Garbage collector roots for images that containers still use.

Nix does not see mounts: it deletes an image path below a running container once no generation names it. This package
keeps one root for each container that an engine still knows, from its creation to its removal.

podman       the containers of containers/storage, whatever started them
image_stores the image store that holds a container's image, also one that storage.conf no longer names
kept_store   an image store on the machine for images that only old containers use, so that they start again
moves        containers that have moved directories of their image
units        the roots that units make themselves, and what a power cut leaves of them
links        the roots themselves: symlinks that Nix follows
update       the verb that joins these
"""
