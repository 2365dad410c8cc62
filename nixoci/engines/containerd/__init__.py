"""Images of an image store in containerd: its content, its images, and snapshots that are links to mounted images.

ctr         containerd's own client: its commands, and readers of what it prints
shape       images as containerd gets them: as in the registry, or with one layer
archive     the archive that carries manifests and configs
adopt       snapshots that are links
registered  the list of what nixoci has registered
plan        the difference between the declared images and what containerd has
register    the verb that joins these
"""
