"""The switch of a host, or of one user, from one output to the next: units, podman's drop-in, the root that keeps both.

An output is what `nixoci units` makes, or an image store. Its units become links in systemd's directory, so that they
start by themselves after a boot, and those that changed restart.

places     the paths of the system's switch and of a user's
contents   an output: its files to link, its units, those that start by themselves
record     the list of everything that switches have made on this machine
plan       the difference between the record and an output
links      the links on the machine; what nixoci did not make is left alone
generation the generations of the profile that keeps outputs from the garbage collector
perform    the verb that joins these
"""
