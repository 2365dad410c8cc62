#!/bin/sh
# Removes everything that the start of a bundle made, as far as it got.
#
# A bundle has a copy of this file with the values of its variables below this comment, as of start.sh.
#
#   name run                     the container, its directory below /run
#   runtime                      the OCI runtime
#   root metadata                mount points of the root and of its metadata; empty without mounts
#   bound                        the mount point of the runtime's directory
#
# shellcheck disable=SC2154

"$runtime" delete --force "$name" || :
if [ -n "$root" ]; then "$umount" --lazy "$root" "$metadata" ${bound:+"$bound"} || :; fi
# a directory that is still mounted is not emptied
if [ -n "$bound" ]; then "$rm" --force --dir "$bound" || :; fi
"$rm" --recursive --force --one-file-system "$run" || :
