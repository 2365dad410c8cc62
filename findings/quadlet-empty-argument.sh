#!/usr/bin/env bash
# Quadlet takes an empty argument for the end of a command, and starts the container without all that follows.
#
# Version: podman 5.4.2 (Debian 13); 5.8.6 (Debian forky) does the same.
#
# Behavior: `Exec=` of a .container file has the words of the container's command. Where one of them is empty, `""` or `''`,
# the generator leaves it out together with the words behind it, and writes the unit. Nothing is printed, the exit code is 0.
# `PodmanArgs=`, `Environment=` and `AddCapability=` are read so as well. An empty pair of quotes inside a word, as in
# `x""y`, is read as it should be.
#
# Why it surprises: the manual says that `Exec=` has the format of systemd's command lines, and there an empty word is an
# empty argument. The guess for a generator with a splitter of its own is that it drops the empty word at worst, or that it
# refuses it, as it does unknown keys. But its splitter tells the end of the text by an empty word. `--save ""` is how
# Redis is told to make no snapshots; of this command, the option for its log is lost too.
#
# Seen on 2026-11-29, the words after the image:
#   Exec=redis-server --save "" --appendonly yes    redis-server --save
#   Exec=redis-server --save '' --appendonly yes    redis-server --save
#   Exec=redis-server --save x""y --appendonly yes  redis-server --save xy --appendonly yes
#   Exec="" redis-server                            none
# and the words of podman:
#   PodmanArgs=--label "" --pids-limit 9            --label
#   AddCapability=KILL "" CHOWN                     --cap-add kill
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
mmdebstrap --quiet --variant=extract --include=podman=5.4.2+ds1-2+b2 trixie root || die "mmdebstrap could not fetch podman"
libraries=root/usr/lib/$(uname -m)-linux-gnu
loader=$(echo "$libraries"/ld-linux-*.so.?)

# Print what a line adds to the command of the unit: the words that a container without the line does not have.
words() {
  rm -rf units && mkdir units
  printf '%s\n' '[Container]' 'Image=localhost/image' "$1" >units/test.container
  QUADLET_UNIT_DIRS=$work/units "$loader" --library-path "$libraries" root/usr/libexec/podman/quadlet -dryrun >unit 2>log ||
    die "quadlet: $(tail -n 1 log)"
  sed -n 's/^ExecStart=//p' unit | tr ' ' '\n' >with
  [ -s with ] || die "quadlet wrote no command: $(tail -n 1 log)"
  [ -e without ] || cp with without
  { diff without with || true; } | sed -n 's/^> //p' | paste -sd' '
}
words '' >/dev/null
result=""
for line in 'Exec=redis-server --save "" --appendonly yes' "Exec=redis-server --save '' --appendonly yes" \
  'Exec=redis-server --save x""y --appendonly yes' 'Exec="" redis-server' 'PodmanArgs=--label "" --pids-limit 9' \
  'AddCapability=KILL "" CHOWN'; do
  found=$(words "$line")
  printf -v line '%-47s %s' "$line" "${found:-none}"
  echo "$line"
  result+="$line"$'\n'
done
expected="Exec=redis-server --save \"\" --appendonly yes    redis-server --save
Exec=redis-server --save '' --appendonly yes    redis-server --save
Exec=redis-server --save x\"\"y --appendonly yes  redis-server --save xy --appendonly yes
Exec=\"\" redis-server                            none
PodmanArgs=--label \"\" --pids-limit 9            --label
AddCapability=KILL \"\" CHOWN                     --cap-add kill
"
[ "$result" = "$expected" ] || die "Quadlet reads empty arguments in another way now"
echo "as seen on 2026-11-29"
