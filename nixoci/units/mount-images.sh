#!/bin/sh
# Mounts the trees of images read-only, for all that runs them on this host: bundles, services, Docker, containerd.
#
#   mount-images start|stop MOUNT UMOUNT RM [--programs DIR TARGET]... [IMAGES]...
#
# IMAGES is an image store, or the directory of a layer in one. What Nix keeps for engines is mounted too, until they
# need it no more, since their containers outlive a list of IMAGES. DIR has an OCI runtime, and is mounted read-only at
# TARGET, so that no container can write to the runtime that runs it (CVE-2019-5736).

set -eu
# C's messages need no locale files; with mount(2), an option may have more than 255 bytes
export LC_ALL=C LIBMOUNT_FORCE_MOUNT2=always
action=$1 mount=$2 umount=$3 rm=$4
shift 4
run=/run/nixoci roots=/nix/var/nix/gcroots/nixoci-engines

mounted=
while read -r _ _ _ _ point _; do
    case $point in
        "$run"/images/* | "$run"/.runtime/*) mounted="$mounted $point " ;;
    esac
done < /proc/self/mountinfo

wanted='' table='' made='' status=0
# Notes the mount point $1 and the lines of fstab(5) that make it.
want() {
    wanted="$wanted $1 "
    case $mounted in
        *" $1 "*) ;;
        *) table="$table$2" made="$made $1" ;;
    esac
}

# Notes the image of the layer in the directory $1. Only root may enter its mount point: users of the host could run its
# setuid programs. The metadata is a mount of its own until the tree is mounted over it.
want_layer() {
    store=${1%/overlay/*}
    point=$run/images/${store##*/}-${1##*/}
    case $wanted in *" $point "*) return ;; esac
    metadata=$run/.metadata/${point##*/}
    want "$point" "\
$1/composefs-data/composefs.blob $metadata erofs ro,nodev,X-mount.mkdir=0700 0 0
overlay $point overlay ro,nodev,metacopy=on,X-mount.mkdir=0700,lowerdir=$metadata::$1/diff 0 0
"
    case $made in *" $point") made="$made $metadata" unmounted="${unmounted-} $metadata" ;; esac
}

# Notes the images of the store, or of the layer's directory, $1.
want_images() {
    for folder in "$1" "$1"/overlay/*; do
        if [ -e "$folder/composefs-data/composefs.blob" ]; then
            # a store that is joined of others links their directories
            cd -P "$folder"
            want_layer "$PWD"
            found=yes
        elif [ -L "$folder" ] && ! [ -e "$folder" ]; then
            printf 'error: %s: leads to a store that is not there; was it removed?\n' "$folder" >&2
            status=1
        fi
    done
}

if [ "$action" = start ]; then
    while [ "${1-}" = --programs ]; do
        want "$3" "$2 $3 none bind,ro,X-mount.mkdir=0700 0 0
"
        shift 3
    done
    for images in "$@"; do
        # a store may be empty
        found=
        [ ! -e "$images/overlay-images/images.json" ] || found=yes
        want_images "$images"
        if [ -z "$found" ]; then
            printf 'error: %s: no image store, nor a layer with an EROFS file; was it removed?\n' "$images" >&2
            status=1
        fi
    done
fi
for root in "$roots"/*/*; do want_images "/nix/store/${root##*/}"; done

if [ -n "$table" ]; then
    # mount reads no pipe
    printf '%s' "$table" > "$run/.fstab"
    "$mount" --all --fstab "$run/.fstab" || {
        status=$?
        printf 'error: an image is not mounted, for the reason above; EROFS files need Linux 6.12, and loop devices %s\n' \
            'unless the image store is on a file system other than overlay; the kernel may say more in dmesg' >&2
    }
    made="$made $run/.fstab $run/.metadata"
fi
for point in $mounted; do
    case $wanted in
        *" $point "*) ;;
        *) unmounted="${unmounted-} $point" made="$made $point" ;;
    esac
done
if [ -n "${unmounted-}" ]; then
    # whoever has one of them open keeps it
    # shellcheck disable=SC2086
    "$umount" --lazy $unmounted || status=$?
fi
# what is mounted is not removed: these are the table, and the mount points that are none any more, or that never were
# shellcheck disable=SC2086
if [ -n "$made" ]; then "$rm" --force --dir $made 2> /dev/null || :; fi
exit "$status"
