#!/usr/bin/env bash
# rpm2cpio and rpm2archive drop set-user-ID bits of files whose owner is no user of the machine that they run on.
#
# Version: rpm 4.20.1 (Debian 13); 6.1.0 (Debian forky) does the same.
#
# Behavior: `rpm2cpio PACKAGE` writes the files of a package as a cpio archive. The owner of each file is looked up by its name in
# /etc/passwd and /etc/group of the machine. If there is no such user, the archive says root, and the set-user-ID bit is
# gone; the same goes for groups and set-group-ID. `rpm2archive` writes the names of the owners and drops the bits too. The exit
# code is 0, and nothing is printed. So the same package gives archives of different digests on two machines. The package
# itself lists owner and bits each time, and libarchive, which reads its payload, has the bits on both machines.
#
# Why it surprises: a package is signed and has a compressed cpio archive at its end, and rpm2cpio is known as the program that cuts
# this archive out, as the scripts of this name do. What must not be is a program of root's with a set-user-ID bit that was
# meant for another user, and an installation prints a warning where it drops one. The guess is that a conversion runs
# without a system around it, with the names as data. A container or sandbox that unpacks packages for an image has the
# users of its own distribution only: tar keeps the names from rpm2archive, finds these users in the image, and
# the programs have lost their bits.
#
# Seen on 2026-11-30, a program of the user `daemon2` with mode 4755, as listed by each tool:
#   user known    rpm --query: -rwsr-xr-x daemon2
#   user known    rpm2cpio: -rwsr-xr-x 77
#   user known    rpm2archive: -rwsr-xr-x daemon2
#   user known    bsdtar: -rwsr-xr-x
#   no such user  rpm --query: -rwsr-xr-x daemon2
#   no such user  rpm2cpio: -rwxr-xr-x 0
#   no such user  rpm2archive: -rwxr-xr-x daemon2
#   no such user  bsdtar: -rwsr-xr-x
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages='base-files,bash,dash,coreutils,findutils,grep,sed,cpio,tar,libarchive-tools,rpm=4.20.1+dfsg-3*,rpm2cpio=4.20.1+dfsg-3*'
mmdebstrap --quiet --variant=extract --include="$packages" trixie root || die "mmdebstrap could not fetch the tools"
mkdir -p root/work root/tmp
tool() { chroot root /usr/bin/env -i -C /work PATH=/usr/bin LC_ALL=C HOME=/work "$@"; }
users() {
  echo 'root:x:0:0:root:/:/bin/sh' >root/etc/passwd
  echo 'root:x:0:' >root/etc/group
  if [ "$1" = 'user known' ]; then
    echo 'daemon2:x:77:77::/:/bin/sh' >>root/etc/passwd
    echo 'daemon2:x:77:' >>root/etc/group
  fi
}

cat >root/work/package.spec <<'END'
Name: package
Version: 1
Release: 1
Summary: Package
License: MIT
BuildArch: noarch
%description
A program with a set-user-ID bit.
%install
mkdir -p %{buildroot}/usr/bin
echo program >%{buildroot}/usr/bin/program
%files
%attr(4755, daemon2, daemon2) /usr/bin/program
END
users 'user known'
tool rpmbuild -bb --quiet --define '_topdir /work/build' package.spec >log 2>&1 || die "rpmbuild: $(tail -n 1 log)"
package=build/RPMS/noarch/package-1-1.noarch.rpm
result=""
show() {
  local line
  line=$(printf '%-13s %s: %s' "$state" "$1" "$2")
  echo "$line"
  result+="$line"$'\n'
}
quiet() {
  tool "$@" >out 2>log || die "$1: $(tail -n 1 log)"
  [ ! -s log ] || die "$1: $(tail -n 1 log)"
}
for state in 'user known' 'no such user'; do
  users "$state"
  quiet rpm --query --nosignature --list --verbose --package $package
  show 'rpm --query' "$(awk '{print $1, $3}' out)"
  quiet rpm2cpio $package
  cp out root/work/cpio
  show rpm2cpio "$(tool cpio --list --verbose --numeric-uid-gid --quiet --file=cpio | awk '{print $1, $3}')"
  quiet rpm2archive --nocompression $package
  cp out root/work/tar
  show rpm2archive "$(tool tar --list --verbose --file=tar | awk '/program/ {print $1, substr($2, 1, index($2, "/") - 1)}')"
  show bsdtar "$(tool bsdtar --list --verbose --file=$package | awk '{print $1}')"
done
expected="user known    rpm --query: -rwsr-xr-x daemon2
user known    rpm2cpio: -rwsr-xr-x 77
user known    rpm2archive: -rwsr-xr-x daemon2
user known    bsdtar: -rwsr-xr-x
no such user  rpm --query: -rwsr-xr-x daemon2
no such user  rpm2cpio: -rwxr-xr-x 0
no such user  rpm2archive: -rwxr-xr-x daemon2
no such user  bsdtar: -rwsr-xr-x
"
[ "$result" = "$expected" ] || die "the archives depend on something else now"
echo "as seen on 2026-11-30"
