#!/usr/bin/env bash
# Of two directories bound to one place, systemd takes the first, and makes it read-only if the second was to be.
#
# Version: systemd 257 (Debian 13); 262 (Debian forky) does the same.
#
# Behavior: a unit has two lines of `BindPaths=` or `BindReadOnlyPaths=` with one destination. The service finds the source of
# the first line there. If one of the lines is read-only, so is what it finds, and the line that is read-only need
# not be the one whose source it is. Nothing is printed, and the unit starts. A second line in a drop-in is no exception.
#
# Why it surprises: the manual says that each usage appends to the list, mounts cover each other, and the last
# of two mounts wins everywhere else; podman refuses two. The guess is that a drop-in with `BindPaths=/srv/new:/var/lib/app`
# moves the data of a service. It changes nothing, and the service writes to the old directory. One that means to bind other data
# read-only makes the service's own data read-only. systemd sorts the mounts by their destination and drops
# duplicates before it mounts anything. An empty `BindPaths=` before the line gives what was meant.
#
# Seen on 2026-11-30: the lines, and what the service finds at the destination:
#   mount --bind a, mount --bind b                b, writable
#   BindPaths=a, BindPaths=b                      a, writable
#   BindPaths=a, BindPaths=b in a drop-in         a, writable
#   BindReadOnlyPaths=a, BindPaths=b              a, read-only
#   BindPaths=a, BindReadOnlyPaths=b              a, read-only
#   BindPaths=a, BindPaths= and BindPaths=b       b, writable
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
group=$(findmnt --first-only --noheadings --types cgroup2 --output TARGET)/$(basename "$work")
trap 'find "$group" -depth -type d -exec rmdir {} \;; rm -rf "$work"' EXIT
mkdir "$group"
cd "$work"
command -v mmdebstrap >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends mmdebstrap >/dev/null
command -v systemd-nspawn >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends systemd-container >/dev/null
packages=base-files,dash,coreutils,mount,systemd=262-1
# a mirror may be some weeks behind
mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' --include="$packages" forky root ||
  die "mmdebstrap could not fetch systemd"
units=root/etc/systemd/system
mkdir -p $units root/a root/b root/x root/result
echo a >root/a/name
echo b >root/b/name
cat >root/look.sh <<'END'
writable=read-only
if touch /x/new 2>/dev/null; then writable=writable; fi
echo "$(cat /x/name), $writable" >"/result/$1"
END
chmod +x root/look.sh

# Write a service that looks at /x, with the lines of its section [Service]; a line "drop-in" starts a drop-in.
names=()
service() {
  local name=case-$((${#names[@]} + 1)) file
  file=$units/$name.service
  names+=("$1")
  shift
  printf '%s\n' '[Unit]' 'DefaultDependencies=no' '[Service]' 'Type=oneshot' "ExecStart=/bin/sh /look.sh $name" >"$file"
  for line in "$@"; do
    if [ "$line" = drop-in ]; then
      mkdir "$file.d"
      file=$file.d/more.conf
      line='[Service]'
    fi
    echo "$line" >>"$file"
  done
}
service 'mount --bind a, mount --bind b' PrivateMounts=yes 'ExecStart=' \
  'ExecStart=/bin/sh -c "mount --bind /a /x && mount --bind /b /x && exec sh /look.sh case-1"'
service 'BindPaths=a, BindPaths=b' BindPaths=/a:/x BindPaths=/b:/x
service 'BindPaths=a, BindPaths=b in a drop-in' BindPaths=/a:/x drop-in BindPaths=/b:/x
service 'BindReadOnlyPaths=a, BindPaths=b' BindReadOnlyPaths=/a:/x BindPaths=/b:/x
service 'BindPaths=a, BindReadOnlyPaths=b' BindPaths=/a:/x BindReadOnlyPaths=/b:/x
service 'BindPaths=a, BindPaths= and BindPaths=b' BindPaths=/a:/x BindPaths= BindPaths=/b:/x
# the machine runs these and ends
all=$(seq --format=case-%g.service --separator=' ' ${#names[@]})
printf '%s\n' '[Unit]' 'DefaultDependencies=no' "Wants=$all" "After=$all" 'SuccessAction=exit-force' 'FailureAction=exit-force' \
  '[Service]' 'Type=oneshot' 'ExecStart=/bin/true' >$units/end.service
options=(--quiet --register=no --keep-unit --resolv-conf=off --timezone=off --link-journal=no --private-network --console=pipe)
# shellcheck disable=SC2016
SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 unshare --mount --propagation=private sh -c '
  echo $$ >"$0/cgroup.procs" && exec systemd-nspawn "$@"
' "$group" "${options[@]}" --directory=root /usr/lib/systemd/systemd --unit=end.service >log 2>&1 </dev/null ||
  die "systemd-nspawn: $(tail -n 1 log)"
result=""
for index in "${!names[@]}"; do
  file=root/result/case-$((index + 1))
  [ -e "$file" ] || die "the service with ${names[$index]} did not run: $(tail -n 1 log)"
  printf -v line '%-45s %s' "${names[$index]}" "$(cat "$file")"
  echo "$line"
  result+="$line"$'\n'
done
expected="mount --bind a, mount --bind b                b, writable
BindPaths=a, BindPaths=b                      a, writable
BindPaths=a, BindPaths=b in a drop-in         a, writable
BindReadOnlyPaths=a, BindPaths=b              a, read-only
BindPaths=a, BindReadOnlyPaths=b              a, read-only
BindPaths=a, BindPaths= and BindPaths=b       b, writable
"
[ "$result" = "$expected" ] || die "systemd chooses in another way now"
echo "as seen on 2026-11-30"
