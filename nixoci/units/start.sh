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
#   image image_option           the mount point of the image, the option that names it
#   image_unit                   the unit that mounts it
#   fstab work mount_hint        the mount of the root, its work directory if it is new, the explanation of a failure
#   bound                        the read-only mount point of the runtime's directory
#   gc_roots kept                a directory of Nix's garbage collector, store paths that it must keep
#   volumes volume_tmpfiles      directories of named volumes, files for systemd-tmpfiles if one is missing
#   copies                       volumes that are copies of the image's directories, one VOLUME:DIRECTORY a line
#   host_files                   files of the host's /etc that the container gets a copy of
#   hosts                        the container's own lines of /etc/hosts, which come first
#   resolver replaced            its own lines of /etc/resolv.conf, the keywords of lines that they replace
#   timezone timezone_option     a zone whose file the container gets a copy of, the option that names it
#   localtime                    that copy
#   environment                  the script that writes a config.json with the variables of environment files
#   devices device_option        devices of the host, the option that names them
#   notify                       the container itself says when it is ready
#
# shellcheck disable=SC2154

set -eu
# whoever killed the unit's processes may have killed the stop script with them
if [ -e "$state" ] || [ -e "$run" ]; then "$sh" "$stop"; fi

# C's messages need no locale files; with mount(2), an option may have more than 255 bytes
export LC_ALL=C LIBMOUNT_FORCE_MOUNT2=always
umask 0022

# systemd allows single devices
for device in $devices; do
    if [ -d "$device" ]; then
        printf 'error: %s: %s is a directory; name each device in it\n' "$device_option" "$device" >&2
        exit 1
    fi
done

# include keep.sh

# include root.sh

# the file may be a link that leads nowhere from there; then crun protects itself
if [ -n "$bound" ] && [ -x "$bound/${runtime##*/}" ]; then runtime=$bound/${runtime##*/}; fi

# include volumes.sh

# Prints a file of the host, if it exists, without the lines that begin with one of the other arguments; a short one costs
# no process.
copy() {
    [ -e "$1" ] || return 0
    left=100
    while IFS= read -r text || [ -n "$text" ]; do
        key=${text%%[[:blank:]]*}
        case " ${2-} " in
            *" ${key:-?} "*) continue ;;
        esac
        printf '%s\n' "$text"
        [ -n "${2-}" ] || [ $((left -= 1)) -gt 0 ] || {
            "$cat"
            break
        }
    done < "$1"
}
for file in $host_files; do
    case $file in
        hosts) printf '%s' "$hosts" && copy /etc/hosts ;;
        *) printf '%s' "$resolver" && copy "/etc/$file" "$replaced" ;;
    esac > "$run/$file"
done

# As podman: the directory of zones is TZDIR, if it is set.
if [ -n "$timezone" ]; then
    zone=${TZDIR:-/usr/share/zoneinfo}/$timezone
    [ "$timezone" != local ] || zone=/etc/localtime
    if ! [ -f "$zone" ]; then
        printf 'error: %s: %s is no file of this host; name a zone that it has\n' "$timezone_option" "$zone" >&2
        exit 1
    fi
    "$cat" "$zone" > "$localtime"
fi

if [ -n "$environment" ]; then
    "$sh" "$environment" > "$run/config.json"
    bundle=$run
fi

# The output goes through a pipe, which every user inside may open as /dev/stdout and /dev/stderr: a program that has
# dropped root is none of the pipe's owner. The process that writes the log ends when the pipe has no writer left,
# whatever signals the whole unit gets.
[ -p "$run/log" ] || "$mkfifo" -m 0666 "$run/log"
write_log() {
    trap '' HUP INT QUIT TERM USR1 USR2
    exec "$cat" < "$run/log"
}

if [ -n "$notify" ]; then
    # crun ends when it has no child left, and this one ends when crun has
    (write_log &)
    exec "$runtime" ${runtime_option:+"$runtime_option"} run "--bundle=$bundle" "$name" > "$run/log" 2>&1
fi
write_log &
set -- "$runtime" ${runtime_option:+"$runtime_option"}
"$@" create "--bundle=$bundle" "--pid-file=$run/pid" "$name" > "$run/log" 2>&1 || {
    status=$?
    # systemd kills what is left of a start that failed, and the reason would be lost
    wait
    exit "$status"
}

tries=0
# usually what is waited for has happened before another process would have started
pause() {
    tries=$((tries + 1))
    [ "$tries" -lt 1000 ] || "$sleep" 0.01
}

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
until adopted; do pause; done

# systemd learns the main process when this script has ended, and only then can tell how that ends. So the container's
# program starts after that: systemd reads the PID file before it takes this script from the process table.
(
    tries=0
    while [ -e "/proc/$$" ]; do pause; done
    "$runtime" start "$name" || kill -KILL "$pid"
) &
