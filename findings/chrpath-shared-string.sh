#!/usr/bin/env bash
# chrpath and CMake rename a symbol of a library when they change its RUNPATH, if the old path ends in the symbol's name.
#
# Version: chrpath 0.18, cmake 3.31.6, patchelf 0.18.0, gcc 14.2.0, binutils 2.44 (Debian 13); cmake 4.3.4 and binutils 2.47
#          (Debian forky) do the same.
#
# Behavior: the path of the run-time linker is a string in .dynstr, next to the names of symbols and of needed libraries.
# ld stores a string that is the end of another one inside of it: with the RUNPATH `/opt/app`, a function `app` has its name
# at the fifth byte of the path. `chrpath --replace` and CMake's file(RPATH_CHANGE) and file(RPATH_SET) write the new path over
# the old one and fill the rest with zeros, so the function is called by what stands there now. file(RPATH_REMOVE) leaves it
# no name. The exit code is 0, the new path is right, and the library loads. patchelf, and `chrpath --delete`, leave the name.
#
# Why it surprises: the known limit of the change in place is the length: the new path must not be longer. A shorter one is
# taken for safe, as nothing moves. CMake does this at each install of a project that has a RUNPATH in its build directory, and
# takes care to find the entry in the dynamic section instead of searching for the text. But a string table has no list of who
# uses which string, and ends are shared at every optimization level. A function that is named like the last directory
# of its project's prefix, as zlib's or a plug-in's entry point may be, is missing only where the path was changed.
#
# Seen on 2026-11-30, a library with the function `app` and the RUNPATH /opt/app: the path, the function, and dlsym:
#   as linked                        /opt/app, app: found
#   patchelf --set-rpath /o/lib      /o/lib, app: found
#   chrpath --delete                 none, app: found
#   chrpath --replace /o/lib         /o/lib, b: undefined symbol
#   file(RPATH_CHANGE ... /o/lib)    /o/lib, b: undefined symbol
#   file(RPATH_SET ... /o/lib)       /o/lib, b: undefined symbol
#   file(RPATH_REMOVE ...)           none, no name: undefined symbol
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages='base-files,coreutils,gcc=4:14.2.0-1,libc6-dev,binutils=2.44-3,chrpath=0.18-*,patchelf=0.18.0-1.4*,cmake=3.31.6-2*'
mmdebstrap --quiet --variant=extract --include="$packages" trixie root || die "mmdebstrap could not fetch the tools"
mkdir -p root/work root/tmp
tool() { chroot root /usr/bin/env -i -C /work PATH=/usr/bin LC_ALL=C "$@"; }

echo 'int app(void) { return 1; }' >root/work/library.c
cat >root/work/load.c <<'END'
#include <dlfcn.h>
#include <stdio.h>

int main(void) {
  void *library = dlopen("./copy.so", RTLD_NOW);
  puts(!library ? "not loaded" : dlsym(library, "app") ? "found" : "undefined symbol");
}
END
tool gcc -shared -fPIC -o library.so library.c -Wl,-rpath,/opt/app || die "gcc cannot make the library"
tool gcc -o load load.c || die "gcc cannot make the program"
result=""
# change a copy of the library by a command, and look at it
show() {
  local path name line
  cp root/work/library.so root/work/copy.so
  tool "${@:2}" >log 2>&1 || die "$1: $(tail -n 1 log)"
  path=$(tool readelf --wide --dynamic copy.so | sed -n 's/.*runpath: \[\(.*\)\]/\1/p')
  name=$(tool readelf --wide --dyn-syms copy.so | awk '$4 == "FUNC" && $5 == "GLOBAL" {print $8}')
  line=$(printf '%-32s %s, %s: %s' "$1" "${path:-none}" "${name:-no name}" "$(tool ./load)")
  echo "$line"
  result+="$line"$'\n'
}
with_cmake() {
  echo "$2" >root/work/change.cmake
  show "$1" cmake -P change.cmake
}
show 'as linked' true
show 'patchelf --set-rpath /o/lib' patchelf --set-rpath /o/lib copy.so
show 'chrpath --delete' chrpath --delete copy.so
show 'chrpath --replace /o/lib' chrpath --replace /o/lib copy.so
with_cmake 'file(RPATH_CHANGE ... /o/lib)' 'file(RPATH_CHANGE FILE copy.so OLD_RPATH /opt/app NEW_RPATH /o/lib)'
with_cmake 'file(RPATH_SET ... /o/lib)' 'file(RPATH_SET FILE copy.so NEW_RPATH /o/lib)'
with_cmake 'file(RPATH_REMOVE ...)' 'file(RPATH_REMOVE FILE copy.so)'
expected="as linked                        /opt/app, app: found
patchelf --set-rpath /o/lib      /o/lib, app: found
chrpath --delete                 none, app: found
chrpath --replace /o/lib         /o/lib, b: undefined symbol
file(RPATH_CHANGE ... /o/lib)    /o/lib, b: undefined symbol
file(RPATH_SET ... /o/lib)       /o/lib, b: undefined symbol
file(RPATH_REMOVE ...)           none, no name: undefined symbol
"
[ "$result" = "$expected" ] || die "the names of symbols are kept now, or lost in another way"
echo "as seen on 2026-11-30"
