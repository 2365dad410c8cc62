#!/usr/bin/env bash
# Nix deletes what a garbage collector root leads to by three symbolic links, and prints nothing about the root.
#
# Version: nix-bin 2.26.3 (Debian 13); Nix 2.34.8 (Debian forky) does the same.
#
# Behavior: the collector reads each symbolic link in its directory of roots. If that does not name a store path, it reads
# the link at its target, and no further. A link that leads to the store by three links is therefore no root. Neither is one
# whose second link is relative, since the text of the second link has to begin with the store, nor one to a directory of
# links, though directories among the roots are read. `nix-store --gc` deletes the store paths, says nothing, and exits
# with 0. Only a link in `gcroots/auto` of which the target is gone is removed with a message.
#
# Why it surprises: a link that resolves looks like a root, `readlink -f` finds the store path, and `nix-build` registers
# its `result` by a link to a link. The guess is that roots are resolved as the kernel does it. It goes wrong once somebody
# moves `result` to another disk and leaves a link in its place, or a deployment has `current`, which points to
# `generation-7`, which points to the store: with `current` as the root, the generation that runs is garbage. A root
# of one link less and one that `nix-store --add-root` made are kept, so a small test finds no difference.
#
# Seen on 2026-11-30: the links from the directory of roots to a store path, and what --gc does to the path:
#   root -> store                                    kept
#   root -> link -> store                            kept
#   root -> link -> link -> store                    deleted
#   root -> relative link -> store                   deleted
#   root -> directory with a link -> store           deleted
#   directory of roots with a link -> store          kept
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
mmdebstrap --quiet --variant=extract --include=nix-bin=2.26.3+dfsg-1,base-files,dash,coreutils trixie root ||
  die "mmdebstrap could not fetch nix-bin"
mkdir -p root/conf root/proc root/dev root/tmp root/home root/v/gcroots
printf '%s\n' 'build-users-group =' 'sandbox = false' 'substitute = false' >root/conf/nix.conf
# nix wants /proc/self/exe
nix() {
  # shellcheck disable=SC2016
  unshare --mount --propagation=private sh -c '
    mount --bind /proc root/proc && mount --rbind /dev root/dev && exec chroot root /usr/bin/env -i "$@"
  ' sh PATH=/usr/bin HOME=/ NIX_CONF_DIR=/conf NIX_REMOTE= NIX_STORE_DIR=/s NIX_STATE_DIR=/v "$@"
}

names=(direct one two relative inside below)
path=()
for name in "${names[@]}"; do
  echo "$name" >"root/home/$name"
  path+=("$(nix nix-store --add "/home/$name")")
done
roots=root/v/gcroots
mkdir root/home/directory "$roots/directory"
ln -s "${path[0]}" $roots/direct
ln -s /home/one-1 $roots/one
ln -s "${path[1]}" root/home/one-1
ln -s /home/two-1 $roots/two
ln -s /home/two-2 root/home/two-1
ln -s "${path[2]}" root/home/two-2
ln -s /home/relative-1 $roots/relative
ln -s "..${path[3]}" root/home/relative-1
ln -s /home/directory $roots/inside
ln -s "${path[4]}" root/home/directory/link
ln -s "${path[5]}" $roots/directory/link
# all of them resolve before the collection
for index in 0 1 2 3; do
  [ "$(chroot root readlink --canonicalize-existing "/v/gcroots/${names[$index]}")" = "${path[$index]}" ] ||
    die "the links do not lead to ${path[$index]}"
done
nix nix-store --gc >gc.log 2>&1 || die "nix-store --gc: $(tail -n 1 gc.log)"
result=""
expect() {
  local found=deleted
  if [ -e "root${path[$1]}" ]; then found=kept; fi
  printf -v line '%-48s %s' "$2" "$found"
  echo "$line"
  result+="$line"$'\n'
}
expect 0 'root -> store'
expect 1 'root -> link -> store'
expect 2 'root -> link -> link -> store'
expect 3 'root -> relative link -> store'
expect 4 'root -> directory with a link -> store'
expect 5 'directory of roots with a link -> store'
expected="root -> store                                    kept
root -> link -> store                            kept
root -> link -> link -> store                    deleted
root -> relative link -> store                   deleted
root -> directory with a link -> store           deleted
directory of roots with a link -> store          kept
"
[ "$result" = "$expected" ] || die "Nix follows other links now"
echo "as seen on 2026-11-30"
