#!/bin/sh
# Removes everything that the start of a bundle made, as far as it got.
#
# A bundle has a copy of this file with the values of its variables below this comment, as of start.sh.
#
#   name run                     the container, its directory below /run
#   runtime                      the OCI runtime
#   root                         the mount point of the root; empty without one
#   gc_roots kept                a directory of Nix's garbage collector, the paths with roots there
#
# shellcheck disable=SC2154

"$runtime" delete --force "$name" || :
if [ -n "$root" ]; then "$umount" --lazy "$root" || :; fi
# a directory that is still mounted is not emptied
set -- "$run"
for path in $kept; do set -- "$@" "$gc_roots/${path##*/}"; done
"$rm" --recursive --force --one-file-system "$@" || :
