#!/bin/sh
# Mounts an overlay for rootless podman (containers-storage.conf(5), `mount_program`).
#
#     mount-program -o OPTIONS TARGET
#
# podman runs it in the user's namespace and in the folder of its overlays. A layer of the image store that this file
# lies in is mounted as two: a tree of files without content that has the image's owners, modes and xattrs, and below
# it the image path's tree, where the kernel finds the content of a file when it is opened. The first is made from the
# store's metadata.tar.gz when the layer is first mounted, and removed when the image path has gone.
#
# All else is left to fuse-overlayfs: layers of the user's own, in which podman marks deleted files as only that
# understands as soon as it has a mount program, and owners that are mapped once more.
set -euf
PATH=/run/current-system/sw/bin:/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin${PATH:+:$PATH}
LC_ALL=C
export PATH LC_ALL

store=${0%/*}
trees=${PWD%/*}/nixoci

fail() {
    echo "error: $*" >&2
    exit 1
}

# Prints the layer that a lower directory is, if it is one of this store's.
layer_of() {
    case $1 in
        "$store"/overlay/l/*) link=$(readlink "$1") ;;
        "$store"/overlay/*/diff) link=$1 ;;
        *) return ;;
    esac
    link=${link%/diff}
    echo "${link##*/}"
}

# Removes the trees of image paths that are no longer there.
sweep() {
    set +f
    for known in "$trees"/*/rootfs; do
        if [ -L "$known" ] && ! [ -e "$known" ]; then rm -rf "${known%/rootfs}"; fi
    done
    set -f
}

# Makes the tree of a layer, unless it is there, and notes whose content it refers to.
make_tree() {
    if ! [ -d "$trees/$1" ]; then
        sweep
        rm -rf "$trees/.new"
        mkdir -p "$trees/.new/tree"
        tar -C "$trees/.new/tree" -xzpPf "$store/overlay/$1/metadata.tar.gz" --same-owner --numeric-owner \
            --xattrs --xattrs-include='*' ||
            fail "the files' attributes cannot be set below $trees; see what tar says above"
        ln -s "$2" "$trees/.new/rootfs"
        mv "$trees/.new" "$trees/$1"
    elif [ "$(readlink "$trees/$1/rootfs")" != "$2" ]; then
        ln -sfn "$2" "$trees/$1/rootfs"
    fi
}

if [ "$*" = --version ]; then
    echo "mount program of $store"
    exit
fi
if [ "$#" -ne 3 ] || [ "$1" != -o ]; then fail "usage: $0 -o OPTIONS TARGET"; fi
options=$2
target=$3

case $options in
    *lowerdir=*) ;;
    *) fail "$options: no lowerdir among the options" ;;
esac
before=${options%%lowerdir=*}
lowers=${options#*lowerdir=}
after=${lowers#"${lowers%%,*}"}
lowers=${lowers%%,*}

# Mounts the tree of `layer` over the content in `rootfs` at $1, with $2 as more options.
mount_layer() {
    # mount(2), for which options may be longer than 255 bytes
    LIBMOUNT_FORCE_MOUNT2=always mount -t overlay overlay -o "userxattr,lowerdir=$trees/$layer/tree::$rootfs$2" "$1" ||
        fail "$1: Linux $(uname -r) does not mount image paths for users; version 6.18 does. Or make the store with" \
            "--no-erofs, which loses owners"
}

own=
layer=
IFS=:
for lower in $lowers; do
    layer=$(layer_of "$lower")
    # nothing but podman's empty folder can follow
    if [ "$layer" ]; then break; fi
    own=$own$lower:
done
unset IFS
[ "$layer" ] || exec fuse-overlayfs "$@"

rootfs=$(readlink -m "$store/overlay/$layer/diff")
[ -d "$rootfs" ] || fail "$rootfs: it is not there, and $store refers to it; keep them together"
mkdir -p "$trees"
(flock 9 && make_tree "$layer" "$rootfs") 9>>"$trees/.lock"

case ${own:+own}$after in
    own* | *,uidmapping=* | *,gidmapping=*)
        base=$(mktemp -d "$trees/.base.XXXXXX")
        mount_layer "$base" ,ro
        status=0
        fuse-overlayfs -o "${before}lowerdir=$own$base$after" "$target" || status=$?
        # it has it open
        umount -l "$base"
        rmdir "$base"
        exit $status
        ;;
    *,upperdir=*,workdir=*)
        upper=${after#*,upperdir=}
        upper=${upper%%,*}
        work=${after#*,workdir=}
        work=${work%%,*}
        # podman gives the top of a new container the mode that it has in the store
        [ -e "$work/work" ] || chmod --reference="$trees/$layer/tree" "$upper"
        ;;
esac
mount_layer "$target" "${before:+,${before%,}}$after"
