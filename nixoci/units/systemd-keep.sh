#!/bin/sh
# Makes what a container that systemd alone runs needs: what a unit has no option for.
#
# A container has a copy of this file with the values of its variables below this comment (`nixoci.units.start`); an
# empty one is a step that it does not need. Each program is a variable of its own name.
#
#   gc_roots kept                a directory of Nix's garbage collector, store paths that it must keep
#   tmpfiles                     files for systemd-tmpfiles to make
#   volumes volume_tmpfiles      directories of named volumes, files for systemd-tmpfiles if one is missing
#
# shellcheck disable=SC2154

set -eu
export LC_ALL=C
umask 0022

# include keep.sh

if [ -n "$tmpfiles" ]; then "$systemd_tmpfiles" --create "$tmpfiles"; fi
for volume in $volumes; do
    if ! [ -e "$volume" ]; then
        "$systemd_tmpfiles" --create "$volume_tmpfiles"
        break
    fi
done
