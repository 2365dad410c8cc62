#!/usr/bin/env bash
# Quadlet joins the lines of a value without the space that systemd puts between them, so that two variables become one.
#
# Version: podman 5.4.2 (Debian 13); 5.8.6 (Debian forky) does the same.
#
# Behavior: a backslash at the end of a line continues the value in the next line. The generator takes all white space off
# both ends of each line, the backslash off the end, and joins the rest. Where no space stands before the backslash, the
# last word of a line and the first of the next are one word. A word in quotes loses its space as well. Lines of
# sections which Quadlet only passes on, such as [Service], are joined in the same way. Nothing is printed.
#
# Why it surprises: the manual says that the files have the format of systemd's units, and systemd.syntax(7) says that the
# backslash is replaced by a space. A unit with these lines works in systemd, and in Quadlet nearly all files do too, since
# most people write a space before the backslash. Without one, `A=1\` and `B=2` give one variable A with the value
# "1B=2", and an option of the command is glued to the value of the one before.
#
# Seen on 2026-11-30, for lines that end in a backslash, and the words that podman or the unit gets:
#   Environment=A=1, B=2               --env A=1B=2
#   Environment=A=1 , B=2              --env A=1 --env B=2
#   Exec=server --log, --port 80       server --log--port 80
#   Exec=sh -c "exec, server"          sh -c execserver
#   [Service] ExecReload=kill, -HUP    kill-HUP
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

# Print the unit that Quadlet makes of the lines.
unit() {
  rm -rf units && mkdir units
  printf '%s\n' '[Container]' 'Image=localhost/image' "$@" >units/test.container
  QUADLET_UNIT_DIRS=$work/units "$loader" --library-path "$libraries" root/usr/libexec/podman/quadlet -dryrun 2>log ||
    die "quadlet: $(tail -n 1 log)"
}
# Print what lines add to the command of the unit: the words that a container without the lines does not have.
words() {
  unit "$@" | sed -n 's/^ExecStart=//p' | tr ' ' '\n' >with
  [ -s with ] || die "quadlet wrote no command: $(tail -n 1 log)"
  [ -e without ] || cp with without
  { diff without with || true; } | sed -n 's/^> //p' | paste -sd' '
}
result=""
show() {
  printf -v line '%-34s %s' "$1" "$2"
  echo "$line"
  result+="$line"$'\n'
}
words >/dev/null
# shellcheck disable=SC1003  # these lines end in a backslash
{
  show 'Environment=A=1, B=2' "$(words 'Environment=A=1\' '  B=2')"
  show 'Environment=A=1 , B=2' "$(words 'Environment=A=1 \' '  B=2')"
  show 'Exec=server --log, --port 80' "$(words 'Exec=server --log\' '  --port 80')"
  show 'Exec=sh -c "exec, server"' "$(words 'Exec=sh -c "exec\' '  server"')"
  show '[Service] ExecReload=kill, -HUP' "$(unit '[Service]' 'ExecReload=kill\' '  -HUP' | sed -n 's/^ExecReload=//p')"
}
expected='Environment=A=1, B=2               --env A=1B=2
Environment=A=1 , B=2              --env A=1 --env B=2
Exec=server --log, --port 80       server --log--port 80
Exec=sh -c "exec, server"          sh -c execserver
[Service] ExecReload=kill, -HUP    kill-HUP
'
[ "$result" = "$expected" ] || die "Quadlet joins lines in another way now"
echo "as seen on 2026-11-30"
