#!/usr/bin/env bash
# ostree takes a branch that is named like 12 for the start of a checksum, and checks out or continues another branch.
#
# Version: ostree 2025.2 (Debian 13); 2026.4 (Debian forky) does the same.
#
# Behavior: a repository has a branch `12` and a branch `next`. As soon as the checksum of any commit in it begins with 12, `ostree
# rev-parse 12`, `show`, `cat`, `ls`, `export` and `checkout` give that commit, of whatever branch and age. `ostree commit --branch=12`
# makes it the parent of the new commit, so that the history of 12 goes on in `next`. If two checksums begin so, all of them fail, the
# commit too ("Refspec 12 not unique"). `ostree refs` lists the branch, and its file has the right checksum. The exit codes
# of the former are 0, and nothing is printed.
#
# Why it surprises: that a checksum can be shortened is known from Git, where a name of a branch comes first, and where a short one has
# at least four digits. Here the checksum comes first and one digit is enough, so that the names of releases are in danger:
# 12, 2026, or fc. In a test a repository has three commits, and nothing happens; the chance that one of 100 begins with two
# given digits is a third. Names with a slash or a dot are safe. pull-local notices what it is given, and only
# because commits name their branch ("has no requested ref ‘12’ in ref binding metadata").
#
# Seen on 2026-11-30, with a commit of `next` whose checksum begins with 12, and then with two:
#   ostree refs                     12 next
#   checkout of 12, before          the release
#   checkout of 12, with one        next
#   parent of a new commit of 12    next
#   pull-local of 12                has no requested ref
#   commit to 12, with two          not unique
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
mmdebstrap --quiet --variant=extract --include=ostree=2025.2-1 trixie root || die "mmdebstrap could not fetch ostree"
libraries=root/usr/lib/$(uname -m)-linux-gnu
loader=$(echo "$libraries"/ld-linux-*.so.?)
ostree() { LC_ALL=C.UTF-8 "$loader" --library-path "$libraries" root/usr/bin/ostree --repo=repo "$@"; }

mkdir tree-12 tree-next
echo 'the release' >tree-12/file
echo next >tree-next/file
ostree init --mode=archive
ostree config set core.fsync false
# BRANCH SECOND
commit() { ostree commit --branch="$1" --tree=dir="tree-$1" --timestamp="@$2"; }
second=0
# commits to `next` until a checksum begins with 12
until_12() {
  for _ in $(seq 5000); do
    second=$((second + 1))
    found=$(commit next "$second")
    [ "${found::2}" != 12 ] || return 0
  done
  die "no checksum begins with 12"
}
result=""
show() {
  local line
  line=$(printf '%-31s %s' "$1" "$2")
  echo "$line"
  result+="$line"$'\n'
}
checkout() {
  rm -rf checkout
  ostree checkout --user-mode 12 checkout || die "12 cannot be checked out"
  cat checkout/file
}
error() {
  if ostree "$@" >log 2>&1; then
    echo "exit code 0"
  else
    grep --only-matching --max-count=1 'has no requested ref\|not unique' log || die "ostree: $(cat log)"
  fi
}
release=$(commit 12 10001)
before=$(checkout)
until_12
show 'ostree refs' "$(ostree refs | sort | paste -sd ' ')"
show 'checkout of 12, before' "$before"
show 'checkout of 12, with one' "$(checkout)"
new=$(commit 12 10002)
parent=$(ostree show "$new" | sed -n 's/^Parent: *//p')
[ "$parent" != "$found" ] || parent=next
[ "$parent" != "$release" ] || parent='the release'
show 'parent of a new commit of 12' "$parent"
[ "$(cat repo/refs/heads/12)" = "$new" ] || die "the file of the branch has another commit"
mv repo source
ostree init --mode=archive
show 'pull-local of 12' "$(error pull-local source 12)"
rm -r repo
mv source repo
until_12
show 'commit to 12, with two' "$(error commit --branch=12 --tree=dir=tree-12)"
expected="ostree refs                     12 next
checkout of 12, before          the release
checkout of 12, with one        next
parent of a new commit of 12    next
pull-local of 12                has no requested ref
commit to 12, with two          not unique
"
[ "$result" = "$expected" ] || die "other commits are taken now"
echo "as seen on 2026-11-30"
