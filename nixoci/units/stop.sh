#!/bin/sh
# Removes everything that the start of a bundle made, as far as it got.
#
# A bundle has a copy of this file with the values of its variables below this comment, as of start.sh.
#
#   name run                     the container, its directory below /run
#   runtime                      the OCI runtime
#   root metadata                mount points of the root and of its metadata; empty without mounts
#   image                        the mount point of the image alone, which is there only if the start was cut short
#   bound                        the mount point of the runtime's directory
#   gc_roots kept                a directory of Nix's garbage collector, the paths with roots there
#
# shellcheck disable=SC2154

"$runtime" delete --force "$name" || :
if [ -n "$image" ] && [ -d "$image" ]; then "$umount" --lazy "$image" || :; fi
if [ -n "$root" ]; then "$umount" --lazy "$root" "$metadata" ${bound:+"$bound"} || :; fi
# a directory that is still mounted is not emptied
if [ -n "$bound" ]; then "$rm" --force --dir "$bound" || :; fi
set -- "$run"
for path in $kept; do set -- "$@" "$gc_roots/${path##*/}"; done
"$rm" --recursive --force --one-file-system "$@" || :
