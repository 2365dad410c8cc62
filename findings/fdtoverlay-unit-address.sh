#!/usr/bin/env bash
# fdtoverlay merges a new node into an old one of the same name that has an address, and reports success.
#
# Version: device-tree-compiler 1.7.2 (Debian 13); 1.8.1 (Debian forky) does the same.
#
# Behavior: an overlay adds a node `sensor` to a bus that has a `sensor@48`. fdtoverlay writes the properties of the new
# node into `sensor@48`, over those which that one has, and makes no node `sensor`. dtc, which merges the same text at
# compile time, makes a node of its own. The exit code is 0, and nothing is printed.
#
# Why it surprises: the address is a part of a node's name, `sensor` and `sensor@48` are two nodes in one tree, and the guess
# is that an overlay does at run time what an include does at compile time. But libfdt looks nodes up as Open Firmware
# does for people: without an address, the first node of that name is the one. It asks in this way whether a node exists
# before it adds it, and `fdtget` shows the properties of `sensor@48` for `/bus/sensor` even if there are both. U-Boot
# applies overlays with libfdt, and image builders with fdtoverlay. In the example, the driver of the old sensor is no
# longer loaded, and that of the new one gets its address.
#
# Seen on 2026-11-30:
#   dtc, in one text    sensor: new; sensor@48: old
#   fdtoverlay          sensor@48: new
#   fdtoverlay, @49     sensor@48: old; sensor@49: new
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
mmdebstrap --quiet --variant=extract --include='device-tree-compiler=1.7.2-2*' trixie root ||
  die "mmdebstrap could not fetch device-tree-compiler"
libraries=root/usr/lib/$(uname -m)-linux-gnu
loader=$(echo "$libraries"/ld-linux-*.so.?)
tool() { "$loader" --library-path "$libraries" "root/usr/bin/$1" "${@:2}"; }

header='/dts-v1/;'
base='/ { bus: bus { #address-cells = <1>; #size-cells = <0>; sensor@48 { reg = <0x48>; compatible = "old"; }; }; };'
new='&bus { sensor { compatible = "new"; }; };'
other='&bus { sensor@49 { reg = <0x49>; compatible = "new"; }; };'
compile() {
  tool dtc -q -@ -o "$1" - >log 2>&1 || die "dtc: $(tail -n 1 log)"
  [ ! -s log ] || die "dtc: $(tail -n 1 log)"
}
compile base.dtb <<<"$header $base"
compile included.dtb <<<"$header $base $new"
compile new.dtbo <<<"$header /plugin/; $new"
compile other.dtbo <<<"$header /plugin/; $other"
for overlay in new other; do
  tool fdtoverlay -i base.dtb -o $overlay.dtb $overlay.dtbo >log 2>&1 || die "fdtoverlay: $(tail -n 1 log)"
  [ ! -s log ] || die "fdtoverlay: $(tail -n 1 log)"
done

result=""
show() {
  local line
  # fdtget takes the first sensor for /bus/sensor, too
  line=$(tool dtc -q -s -I dtb -O dts "$2" | awk -F '"' '
    $1 ~ /sensor.* \{/ { split($1, part, /[ \t]+/); name = part[2] }
    $1 ~ /compatible/ { printf "; %s: %s", name, $2 }')
  line=$(printf '%-19s %s' "$1" "${line#; }")
  echo "$line"
  result+="$line"$'\n'
}
show 'dtc, in one text' included.dtb
show fdtoverlay new.dtb
show 'fdtoverlay, @49' other.dtb
expected="dtc, in one text    sensor: new; sensor@48: old
fdtoverlay          sensor@48: new
fdtoverlay, @49     sensor@48: old; sensor@49: new
"
[ "$result" = "$expected" ] || die "overlays are merged in another way now"
echo "as seen on 2026-11-30"
