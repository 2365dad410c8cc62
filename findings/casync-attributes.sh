#!/usr/bin/env bash
# desync cuts the last byte off each extended attribute that casync archived, and casync reads one too many from desync.
#
# Version: casync 2+20201210-2.2, desync 1.0.4 (Debian forky).
#
# Behavior: both write the format .catar and store the length of an attribute with it. desync writes a zero byte behind the
# value and counts it, casync does not; each reads as it writes. `desync untar` of casync's archive sets `valu` for
# `value`; `casync extract` of desync's sets `value\0`. A file capability is an entry of its own in casync's archive; desync
# drops it, and casync refuses desync's archive with one ("Invalid argument"). An empty value, which desync cannot read
# from casync ("invalid archive format"), gets one byte on the way back. The other exit codes are 0, and nothing is printed.
#
# Why it surprises: desync is a reimplementation of casync that stays compatible with it: it says so, each extracts the
# other's files, and a test of modes, owners, times and devices finds no fault. The guess is that a length which does not
# fit makes the next entry unreadable. But only the value is wrong, and only its user notices: a value one byte short, or
# a program without its capability. An archive is safe with the program that wrote it.
#
# Seen on 2026-11-29, what comes out of an archive with `user.x` of the value `value`, with an empty value, and with a
# file capability:
#   casync to casync   b'value', b'', capability
#   casync to desync   b'valu', Error: invalid archive format, nothing
#   desync to casync   b'value\x00', b'\x00', Failed to run synchronizer: Invalid argument
#   desync to desync   b'value', b'', capability
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
# a mirror may be some weeks behind
mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' \
  --include=casync=2+20201210-2.2,desync=1.0.4-1 forky root || die "mmdebstrap could not fetch casync and desync"
libraries=root/usr/lib/$(uname -m)-linux-gnu
loader=$(echo "$libraries"/ld-linux-*.so.?)
tool() { "$loader" --library-path "$libraries:$libraries/systemd" "root/usr/bin/$1" "${@:2}"; }

# NAME ATTRIBUTE VALUE, the value as Python writes it
archive() {
  mkdir "$1"
  echo content >"$1/file"
  python3 -c "import os; os.setxattr('$1/file', '$2', $3)"
  tool casync make "$1.casync.catar" "$1" >log 2>&1 || die "casync make: $(tail -n 1 log)"
  tool desync tar "$1.desync.catar" "$1" >log 2>&1 || die "desync tar: $(tail -n 1 log)"
}
archive value user.x "b'value'"
archive empty user.x "b''"
# cap_net_raw+ep, in the kernel's version 2
archive capability security.capability 'bytes.fromhex("0100000200200000000000000000000000000000")'
extract() {
  rm -rf out
  if [ "$2" = casync ]; then
    tool casync extract "$1" out >log 2>&1 || { tail -n 1 log && return; }
  else
    mkdir out
    tool desync untar "$1" out >log 2>&1 || { tail -n 1 log | sed 's/[ :]*$//' && return; }
  fi
  python3 - <<'PYTHON'
import os

values = [os.getxattr("out/file", name) if name == "user.x" else "capability" for name in os.listxattr("out/file")]
print(*values or ["nothing"])
PYTHON
}
result=""
for from in casync desync; do
  for to in casync desync; do
    line=$(printf '%-19s%s, %s, %s' "$from to $to" "$(extract value.$from.catar $to)" "$(extract empty.$from.catar $to)" "$(extract capability.$from.catar $to)")
    echo "$line"
    result+="$line"$'\n'
  done
done
expected="casync to casync   b'value', b'', capability
casync to desync   b'valu', Error: invalid archive format, nothing
desync to casync   b'value\\x00', b'\\x00', Failed to run synchronizer: Invalid argument
desync to desync   b'value', b'', capability
"
[ "$result" = "$expected" ] || die "attributes are archived in another way now"
echo "as seen on 2026-11-29"
