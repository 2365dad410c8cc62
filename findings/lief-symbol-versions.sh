#!/usr/bin/env bash
# LIEF makes a program that uses two versions of a symbol call one of them for both, if it only reads and writes the file.
#
# Version: lief 1.0.0 (PyPI), gcc 14.2, binutils 2.44, patchelf 0.18.0 (Debian 13); lief 0.12.3, 0.14.1, 0.15.1, 0.16.6 and 0.17.1 do the
#          same.
#
# Behavior: a program imports `limit@V1` and `limit@V2` of a library, as it does if one of its objects was compiled with an older
# release. `lief.parse("program").write("copy")` writes a program whose two relocations have the same symbol, the first of that
# name in the table. Both symbols and both versions are still there. The copy starts, and calls the new function where it called
# the old one. Nothing is printed. objcopy and `patchelf --add-needed` keep both relocations.
#
# Why it surprises: the library is made to change programs, and the guess is that a program which is written without a change
# does what it did, or does not start. LIEF itself reads the versions right, prints them with each symbol, and keeps them in the
# symbol table. But a symbol is its name where the table of relocations is written again, and two symbols of one name and
# two versions are the very thing that symbol versions are for. `ldd -v`, a list of needed versions and a list of imports
# are equal before and after, so that no check of the interface finds it.
#
# Seen on 2026-11-30, the functions that the program calls, and the symbols of its relocations:
#   linked                   calls 1 and 2, limit@V1 limit@V2
#   objcopy                  calls 1 and 2, limit@V1 limit@V2
#   patchelf --add-needed    calls 1 and 2, limit@V1 limit@V2
#   lief                     calls 2 and 2, limit@V2 limit@V2
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages='base-files,coreutils,gcc=4:14.2.0-1,libc6-dev,binutils=2.44-3,patchelf=0.18.0-1.4*'
mmdebstrap --quiet --variant=extract --include="$packages" trixie root || die "mmdebstrap could not fetch the tools"
mkdir -p root/work root/tmp
tool() { chroot root /usr/bin/env -i -C /work PATH=/usr/bin LC_ALL=C "$@"; }
python3 -m venv venv
venv/bin/pip install --quiet lief==1.0.0 >pip.log 2>&1 || die "pip: $(tail -n 1 pip.log)"

cat >root/work/library.c <<'END'
int limit_old(void) { return 1; }
int limit_new(void) { return 2; }
__asm__(".symver limit_old,limit@V1");
__asm__(".symver limit_new,limit@@V2");
END
echo 'V1 { global: limit; local: *; }; V2 { global: limit; } V1;' >root/work/versions
cat >root/work/old.c <<'END'
__asm__(".symver limit,limit@V1");
int limit(void);
int from_old_object(void) { return limit(); }
END
cat >root/work/program.c <<'END'
#include <stdio.h>

int limit(void), from_old_object(void);

int main(void) { printf("calls %d and %d\n", from_old_object(), limit()); }
END
tool gcc -shared -fPIC -o liblimit.so library.c -Wl,--version-script=versions || die "gcc cannot make the library"
tool gcc -o linked old.c program.c -L. -llimit -Wl,-rpath,/work || die "gcc cannot make the program"
tool objcopy linked copied || die "objcopy cannot copy the program"
tool patchelf --add-needed libm.so.6 --output patched linked || die "patchelf cannot change the program"
venv/bin/python -c 'import lief; lief.parse("root/work/linked").write("root/work/written")' >log 2>&1 || die "lief: $(tail -n 1 log)"
[ ! -s log ] || die "lief: $(tail -n 1 log)"
chmod 755 root/work/written

result=""
show() {
  local line symbols
  symbols=$(tool readelf --wide --relocs "$2" | grep --only-matching 'limit@V[12]' | LC_ALL=C sort | paste --serial --delimiters=' ')
  line=$(printf '%-24s %s, %s' "$1" "$(tool "./$2")" "$symbols")
  echo "$line"
  result+="$line"$'\n'
}
show linked linked
show objcopy copied
show 'patchelf --add-needed' patched
show lief written
expected="linked                   calls 1 and 2, limit@V1 limit@V2
objcopy                  calls 1 and 2, limit@V1 limit@V2
patchelf --add-needed    calls 1 and 2, limit@V1 limit@V2
lief                     calls 2 and 2, limit@V2 limit@V2
"
[ "$result" = "$expected" ] || die "other functions are called now"
echo "as seen on 2026-11-30"
