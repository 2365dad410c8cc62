#!/bin/sh
# Makes what a container that systemd alone runs needs before its start, and removes it when called with `stop`.
#
# A container has a copy of this file with the values of its variables below this comment (`nixoci.units.start`); an
# empty one is a step that it does not need. Each program is a variable of its own name.
#
#   run root                     the directory below /run, the mount point of the root if the container has a layer
#   image image_option           the mount point of the image, the option that names it
#   image_unit                   the unit that mounts it
#   fstab work                   the mount of the root, its work directory
#   gc_roots kept                a directory of Nix's garbage collector, store paths that it must keep
#   tmpfiles                     files for systemd-tmpfiles to make
#   volumes volume_tmpfiles      directories of named volumes, files for systemd-tmpfiles if one is missing
#   copies                       volumes that are copies of the image's directories, one VOLUME:DIRECTORY a line
#
# shellcheck disable=SC2154

set -eu
# C's messages need no locale files; with mount(2), an option may have more than 255 bytes
export LC_ALL=C LIBMOUNT_FORCE_MOUNT2=always
umask 0022

# Removes the arguments, the layer and the secrets. The pipe of the output stays, which a socket unit has, and with it an
# empty work directory, which the next start need not make.
clean() {
    set -- "$@" "$run/secrets"
    if [ -n "$root" ]; then
        "$umount" --lazy "$root" || :
        set -- "$@" "$root" "$work"/*
    fi
    "$rm" --recursive --force --one-file-system "$@"
}
if [ "${1-}" = stop ]; then
    for path in $kept; do set -- "$@" "$gc_roots/${path##*/}"; done
    shift
    clean "$@"
    exit
fi
# whoever killed the unit's processes may have killed the stop with them
if [ -n "$root" ] && [ -e "$root" ]; then clean; fi

# include keep.sh

# include root.sh

# include volumes.sh
