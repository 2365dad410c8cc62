#!/usr/bin/env bash
# Quadlet drops a whole line with an escape that it does not know, such as \; or \d, and starts the image's own command.
#
# Version: podman 5.4.2 (Debian 13); 5.8.6 (Debian forky) does the same.
#
# Behavior: where a word of `Exec=` has a backslash before a character that makes no escape, also in single quotes, the
# generator leaves the whole line out and writes the unit without a command. The container then runs the command
# of its image. A line of `Environment=`, `Label=` or `PodmanArgs=` is left out in the same way, and the other lines of the
# key stay. The exit code is 0. The only trace is "unsupported escape char", without a file or a line, or none for
# `PodmanArgs=`. `Volume=` and `HealthCmd=` take the backslash as it is.
#
# Why it surprises: the manual says that `Exec=` has the format of systemd's command lines. There `\;` is a semicolon as a word,
# which `find -exec` needs, and a backslash before any other character stays in the word, with a warning. The guess for
# a generator is the same, or that it refuses the file as it does for an unknown key, but not that a container whose command
# it could not read is started with another one: an image of a database with a command that should only check its files
# starts the database. Regular expressions have such backslashes.
#
# Seen on 2026-11-30, the words that the line adds to the command of the unit:
#   Exec=find /tmp -exec rm {} \;                none
#   Exec=find /tmp -exec rm {} ;                 find /tmp -exec rm {} ;
#   Exec=grep -E '\d+' /log                      none
#   Exec=grep -E '\\d+' /log                     grep -E "\\d+" /log
#   Environment=A=1 PATTERN=\d                   none
#   PodmanArgs=--memory 1g --label a=\d          none
#   HealthCmd=grep \d /log                       --health-cmd "grep \\d /log"
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
for line in 'Exec=find /tmp -exec rm {} \;' 'Exec=find /tmp -exec rm {} ;' \
  "Exec=grep -E '\\d+' /log" "Exec=grep -E '\\\\d+' /log" \
  'Environment=A=1 PATTERN=\d' 'PodmanArgs=--memory 1g --label a=\d' 'HealthCmd=grep \d /log'; do
  found=$(words "$line")
  printf -v line '%-44s %s' "$line" "${found:-none}"
  echo "$line"
  result+="$line"$'\n'
done
expected='Exec=find /tmp -exec rm {} \;                none
Exec=find /tmp -exec rm {} ;                 find /tmp -exec rm {} ;
'"Exec=grep -E '\\d+' /log                      none
Exec=grep -E '\\\\d+' /log                     grep -E \"\\\\d+\" /log
"'Environment=A=1 PATTERN=\d                   none
PodmanArgs=--memory 1g --label a=\d          none
HealthCmd=grep \d /log                       --health-cmd "grep \\d /log"
'
[ "$result" = "$expected" ] || die "Quadlet reads backslashes in another way now"
echo "as seen on 2026-11-30"
