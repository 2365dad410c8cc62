# Sourced by the scripts beside this file: what they need of a fresh Debian machine.
# shellcheck shell=bash

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/nixoci

# Set in many an image: each worker of the tests, and each of the hundreds of programs that they start, would compile
# all it imports.
unset PYTHONDONTWRITEBYTECODE

# What builds and boots the test host, and checks the shell scripts; everything else lives inside of it. A small Debian
# 13 has no e2fsprogs.
host_packages=(mmdebstrap systemd-container debian-archive-keyring iproute2 python3-venv shellcheck e2fsprogs mount)

die() {
  echo "error: $*" >&2
  exit 1
}

# Remove a folder in the background when this shell and the programs that it starts have ended, however they do.
remove_at_end() {
  local handle
  exec {handle}<"$1"
  flock "$handle"
  # what is being killed with this shell may still write there
  # shellcheck disable=SC2016 # the inner shell expands it
  setsid --fork flock "$1" sh -c 'for try in 1 2 3 4 5; do rm -rf "$0" && exit; sleep 1; done' "$1" \
    {handle}<&- </dev/null >/dev/null 2>&1
}

# Install what the test host needs and this machine does not have yet.
install_packages() {
  local package missing=()
  for package in "${host_packages[@]}"; do
    dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
      missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  echo "installing ${missing[*]}" >&2
  local install=(env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends)
  # lists that are missing or out of date show themselves by a failure
  "${install[@]}" "${missing[@]}" >/dev/null 2>&1 && return
  apt-get update --quiet=2 || die "apt-get update failed"
  "${install[@]}" "${missing[@]}" >/dev/null || die "apt-get could not install ${missing[*]}"
}

# Refuse a machine on which the test host can't run, with the reason.
require_host() {
  [ "$(id -u)" -eq 0 ] || die "the test host needs root; without it there is ./scripts/test --fast"
  command -v apt-get >/dev/null || die "the test host is built by apt on Debian; elsewhere there is ./scripts/test --fast"
  install_packages
}

# Make the virtual environment of this checkout if it is not there; leave its path in $venv.
make_venv() {
  local version key
  version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])') || die "python3 is not installed"
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die "python3 is $version; nixoci needs 3.11 or newer (Debian 12 or newer)"
  key=$({ echo "$version $checkout" && cat "$checkout/pyproject.toml"; } | sha256sum | cut -c1-16)
  venv=$cache/venv-$key
  mkdir -p "$cache"
  exec 9>"$cache/.venv-$key.lock"
  flock 9
  if [ ! -e "$venv/complete" ]; then
    echo "making $venv" >&2
    python3 -m venv --clear "$venv" || die "python3 can't make a virtual environment; install python3-venv"
    # the pip of Debian 12 does not know dependency groups
    local requirements
    mapfile -t requirements < <(cd "$checkout" && python3 -c '
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))
print(*project["dependency-groups"]["dev"], sep="\n")')
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$checkout" "${requirements[@]}" ||
      die "pip could not install nixoci's dependencies"
    touch "$venv/complete"
  fi
  exec 9>&-
}
