#!/usr/bin/env bash
# fw_setenv of libubootenv keeps the first word of a value, and splits a line of a script at its first `=`.
#
# Version: libubootenv-tool 0.3.5 (Debian 13 and forky), u-boot-tools 2025.01 (Debian 13).
#
# Behavior: `fw_setenv NAME WORD WORD...` sets the variable to the first word and ignores the others. `fw_setenv --script FILE`
# takes lines of the form `name=value`. A line `bootdelay 3` is ignored, and so is one with a name alone. A line
# `bootargs console=ttyS0 root=/dev/vda` makes a variable that is called `bootargs console`. The exit code is 0 each time,
# nothing is printed, and the environment has a right checksum.
#
# Why it surprises: it takes the place, the name and the configuration file of the program that comes with U-Boot, which joins the
# words with spaces, as U-Boot's own `setenv` does, and reads lines of a name, a space and a value, where a name alone
# deletes the variable. The guess is that scripts for the one work with the other, as most do: a command with a quoted
# value is right. `bootargs` is the variable that nearly always has a `=` in its value. The update that was to switch to the
# other root file system leaves the old arguments in place; nothing but a look at all the variables tells.
#
# Seen on 2026-11-30, what differs from `bootargs=old`, `bootdelay=9` and `extra=1` afterwards:
#   fw_setenv bootargs 'console=ttyS0 root=/dev/vda'    bootargs=console=ttyS0 root=/dev/vda
#   fw_setenv bootargs console=ttyS0 root=/dev/vda      bootargs=console=ttyS0
#   --script, bootargs=console=ttyS0 root=/dev/vda      bootargs=console=ttyS0 root=/dev/vda
#   --script, bootargs console=ttyS0 root=/dev/vda      bootargs console=ttyS0 root=/dev/vda
#   --script, bootdelay 3                               none
#   --script, extra                                     none
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
packages='base-files,coreutils,libubootenv-tool=0.3.5-0.1*,u-boot-tools=2025.01-3*'
mmdebstrap --quiet --variant=extract --include="$packages" trixie root || die "mmdebstrap could not fetch the tools"
mkdir -p root/work root/run/lock root/var
[ -e root/var/lock ] || ln -s /run/lock root/var/lock
tool() { chroot root /usr/bin/env -i -C /work PATH=/usr/bin "$@"; }

printf '%s\n' bootargs=old bootdelay=9 extra=1 >root/work/variables
echo '/work/environment 0 0x4000' >root/work/config
result=""
# set variables by fw_setenv with the arguments, and list what is new
show() {
  local name=$1 line
  tool mkenvimage -s 0x4000 -o environment variables >log 2>&1 || die "mkenvimage: $(tail -n 1 log)"
  tool fw_setenv --config config "${@:2}" >log 2>&1 || die "fw_setenv: $(tail -n 1 log)"
  [ ! -s log ] || die "fw_setenv: $(tail -n 1 log)"
  tool fw_printenv --config config >printed 2>log || die "fw_printenv: $(tail -n 1 log)"
  line=$(grep --invert-match --line-regexp --fixed-strings --file=root/work/variables printed) || line=none
  line=$(printf '%-51s %s' "$name" "$line")
  echo "$line"
  result+="$line"$'\n'
}
script() {
  echo "$1" >root/work/script
  show "--script, $1" --script script
}
show "fw_setenv bootargs 'console=ttyS0 root=/dev/vda'" bootargs 'console=ttyS0 root=/dev/vda'
show "fw_setenv bootargs console=ttyS0 root=/dev/vda" bootargs console=ttyS0 root=/dev/vda
script 'bootargs=console=ttyS0 root=/dev/vda'
script 'bootargs console=ttyS0 root=/dev/vda'
script 'bootdelay 3'
script 'extra'
expected="fw_setenv bootargs 'console=ttyS0 root=/dev/vda'    bootargs=console=ttyS0 root=/dev/vda
fw_setenv bootargs console=ttyS0 root=/dev/vda      bootargs=console=ttyS0
--script, bootargs=console=ttyS0 root=/dev/vda      bootargs=console=ttyS0 root=/dev/vda
--script, bootargs console=ttyS0 root=/dev/vda      bootargs console=ttyS0 root=/dev/vda
--script, bootdelay 3                               none
--script, extra                                     none
"
[ "$result" = "$expected" ] || die "fw_setenv reads words and lines in another way now"
echo "as seen on 2026-11-30"
