#!/usr/bin/env bash
# Nix cuts integers to 32 bits in the variables of structured attributes, so that 4 GiB becomes 0.
#
# Version: nix-bin 2.26.3 (Debian 13); Nix 2.34.8 (Debian forky) does the same.
#
# Behavior: with `__structuredAttrs = true`, a builder gets its attributes as JSON and as a file of variables for Bash. The
# JSON has each number as it was written. For the variables, Nix converts a number to the C type int, and leaves it out
# if it is no whole number in single precision. Integers from 2^31 on lose their upper bits. Fractions are left out, unless
# they are so large that single precision rounds them to a whole number; then they lose their fraction. Nothing is
# printed. The environment of an ordinary derivation has all integers as they are, and fractions with six digits.
#
# Why it surprises: integers of Nix have 64 bits, and structured attributes are the way that keeps types where the
# environment has only text. The guess is that both files have the same values, and that a value which Bash cannot have
# is an error, as overflows are in the language. Sizes of disks and partitions in bytes are such numbers, and a
# derivation that was right gives a disk of 0 bytes once it sets `__structuredAttrs`. Bash itself calculates with 64 bits.
#
# Seen on 2026-11-30: a value, and what its builder finds:
#   value          environment      JSON         variable
#   2147483647     2147483647       2147483647   2147483647
#   2147483648     2147483648       2147483648   -2147483648
#   3000000000     3000000000       3000000000   -1294967296
#   4294967296     4294967296       4294967296   0
#   1.5            1.500000         1.5          none
#   16777217.5     16777217.500000  16777217.5   16777217
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
mmdebstrap --quiet --variant=extract --include=nix-bin=2.26.3+dfsg-1,base-files,bash,coreutils trixie root ||
  die "mmdebstrap could not fetch nix-bin"
mkdir -p root/conf root/noted root/proc root/dev root/tmp
printf '%s\n' 'build-users-group =' 'sandbox = false' 'substitute = false' >root/conf/nix.conf
# nix wants /proc/self/exe and a pseudoterminal
nix() {
  # shellcheck disable=SC2016
  unshare --mount --propagation=private sh -c '
    mount --bind /proc root/proc && mount --rbind /dev root/dev && exec chroot root /usr/bin/env -i "$@"
  ' sh PATH=/usr/bin HOME=/ NIX_CONF_DIR=/conf NIX_REMOTE= NIX_STORE_DIR=/s NIX_STATE_DIR=/v "$@"
}

result=""
try() {
  cat >root/build.nix <<END
let
  base = {
    name = "number";
    system = builtins.currentSystem;
    builder = "/usr/bin/bash";
    PATH = "/usr/bin";
    number = $1;
  };
  ordinary = derivation (base // { args = [ "-c" "echo \$number > /noted/environment; echo > \$out" ]; });
  structured = derivation (base // {
    __structuredAttrs = true;
    args = [
      "-c"
      ". \$NIX_ATTRS_SH_FILE; echo \\\${number-none} > /noted/variable; cp \$NIX_ATTRS_JSON_FILE /noted/json; echo > \\\${outputs[out]}"
    ];
  });
in [ ordinary structured ]
END
  nix nix-build --no-out-link /build.nix >build.log 2>&1 || die "nix-build: $(tail -n 1 build.log)"
  json=$(python3 -c 'import json; print(json.load(open("root/noted/json"))["number"])')
  printf -v line '%-14s %-16s %-12s %s' "$1" "$(cat root/noted/environment)" "$json" "$(cat root/noted/variable)"
  echo "$line"
  result+="$line"$'\n'
}
printf '%-14s %-16s %-12s %s\n' value environment JSON variable
for value in 2147483647 2147483648 3000000000 4294967296 1.5 16777217.5; do
  try "$value"
done
expected="2147483647     2147483647       2147483647   2147483647
2147483648     2147483648       2147483648   -2147483648
3000000000     3000000000       3000000000   -1294967296
4294967296     4294967296       4294967296   0
1.5            1.500000         1.5          none
16777217.5     16777217.500000  16777217.5   16777217
"
[ "$result" = "$expected" ] || die "Nix converts numbers in another way now"
echo "as seen on 2026-11-30"
