"""The lock: the registry facts that pin every image, in one reviewed file.

- model: the document
- file: reading and writing it, with exclusive access
- context: its place, from which sources are opened
- pin: adding, updating and removing images
- check: verifying it, and the search for newer tags (versions)
- prefetch: its blobs in the Nix store, and the NAR hashes of its image paths
- failures: the errors of single images
- names: the names of a blob's store path and of an image in podman
"""
