#!/bin/sh
# Makes the root of a bundle and runs its container there, in as few processes as possible.
#
# A bundle has a copy of this file with the values of its variables below this comment (`nixoci.units.start`); an empty
# one is a step that this container does not need. Each program is a variable of its own name.
#
#   name bundle run              the container, its bundle, its directory below /run
#   runtime runtime_option       the OCI runtime, its global option
#   state stop                   the runtime's record of a container that exists, the stop script
#   tmpfiles                     files for systemd-tmpfiles to make before the root is mounted
#   fstab mount_hint             the mounts, the explanation of a failure
#   bound                        the read-only mount point of the runtime's directory in the fstab
#   gc_roots kept                a directory of Nix's garbage collector, store paths that it must keep
#   volumes volume_tmpfiles      directories of named volumes, files for systemd-tmpfiles if one is missing
#   image image_fstab            the mount of the image alone that these are copied from
#   host_files                   files of the host's /etc that the container gets a copy of
#   notify                       the container itself says when it is ready
#
# shellcheck disable=SC2154

set -eu
# whoever killed the unit's processes may have killed the stop script with them
if [ -e "$state" ] || [ -e "$run" ]; then "$sh" "$stop"; fi

# C's messages need no locale files
export LC_ALL=C
umask 0022

# Nix does not see mounts. A root is a file with the name of a store path, which costs no process.
if [ -n "$gc_roots" ] && [ -d "${gc_roots%/*/*}" ]; then
    [ -d "$gc_roots" ] || "$mkdir" -p "$gc_roots"
    for path in $kept; do printf '' > "$gc_roots/${path##*/}"; done
fi

# otherwise mount makes the directory; RuntimeDirectory= would cost systemd one more fork
if [ -n "$tmpfiles" ] || [ -z "$fstab" ]; then "$mkdir" -p -m 0700 "$run"; fi
if [ -n "$tmpfiles" ]; then "$systemd_tmpfiles" --create "$tmpfiles"; fi
if [ -n "$fstab" ]; then
    "$mount" --all --fstab "$fstab" || {
        status=$?
        if [ -n "$mount_hint" ]; then printf '%s\n' "$mount_hint" >&2; fi
        exit "$status"
    }
fi
# the file may be a link that leads nowhere from there; then crun protects itself
if [ -n "$bound" ] && [ -x "$bound/${runtime##*/}" ]; then runtime=$bound/${runtime##*/}; fi
for volume in $volumes; do
    if ! [ -e "$volume" ]; then
        "$mount" --all --fstab "$image_fstab"
        "$systemd_tmpfiles" --create "$volume_tmpfiles"
        "$umount" "$image"
        "$rm" --dir "$image"
        break
    fi
done

# Prints a file of the host, if it exists; a short one costs no process.
copy() {
    [ -e "$1" ] || return 0
    left=100
    while IFS= read -r text || [ -n "$text" ]; do
        printf '%s\n' "$text"
        [ $((left -= 1)) -gt 0 ] || {
            "$cat"
            break
        }
    done < "$1"
}
for file in $host_files; do copy "/etc/$file" > "$run/$file"; done

# The process that writes the log ends when its pipe has no writer left, whatever signals the whole unit gets.
ignore_signals() { trap '' HUP INT QUIT TERM USR1 USR2; }

set -- "$runtime" ${runtime_option:+"$runtime_option"} run "--bundle=$bundle"
if [ -n "$notify" ]; then
    [ -p "$run/log" ] || "$mkfifo" -m 0600 "$run/log"
    (
        ignore_signals
        exec "$cat" < "$run/log"
    ) &
    exec "$@" "$name" > "$run/log" 2>&1
fi

# The exit code is the output of a command substitution, which ends when nobody has its end of the pipe open.
exec 3>&1
code=$({
    {
        if "$@" --detach "--pid-file=$run/pid" "$name" 2>&1 3>&- 4>&-; then echo 0 >&4; else echo "$?" >&4; fi
    } | (
        ignore_signals
        exec "$cat" >&3 3>&- 4>&-
    ) &
} 4>&1)
exec 3>&-
[ "$code" = 0 ] || exit "${code:-1}"

# Succeeds if systemd is the parent of the container's process. A process of crun's is the parent for a little longer than
# crun's command takes. At the stop, systemd does not wait for a main process that is not its child, but kills it right
# after the stop signal.
adopted() {
    [ -e "/proc/$pid/status" ] || return 0
    while read -r key value; do
        [ "$key" != PPid: ] || { [ "$value" = 1 ]; return; }
    done < "/proc/$pid/status"
}
read -r pid < "$run/pid" || :
tries=0
# usually that process is gone by now, or before another one for waiting would have started
until adopted; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || "$sleep" 0.01
done
