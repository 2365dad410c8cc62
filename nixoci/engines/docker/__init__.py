"""Docker with its storage driver overlay2: images of an image store among its own, with links to the mounted images.

data_root     the directories below Docker's data root, and its list of names
daemon        dockerd: its configuration, and the process that may run
names         names of images as Docker writes them
layers        layers: linked, checked and removed
usage         containers, images and tags that still use an image
registered    the list of what nixoci has written there
plan          the difference between an image store and a data root
register      the verb that joins these

dockerd (20.10 to 28) reads all of this when it starts and never again, and writes its list of names as a whole. So
nothing that it reads is written while it runs.
"""
