"""Examination of a machine: can it build images, run them with podman, and keep them.

facts        the facts about a machine, as plain values
gather       facts of this machine, by commands and files
finding      the result of a check
tools        checks of the kernel and of programs
image_stores checks of podman's configuration and of the image stores that it names
users        checks for a rootless user
roots        checks of garbage collector roots
examine      all checks
"""
