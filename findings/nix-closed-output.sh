#!/usr/bin/env bash
# Nix kills a builder that closes its output before it exits, and the build fails with "signal 9".
#
# Version: nix-bin 2.8.0 (Debian 12); Nix 2.34.8 (Debian forky) does the same.
#
# Behavior: Nix takes the end of a builder's output for the end of the builder. Once no process has the output open, it
# kills what is left of the builder. A builder that has work to do after that fails: "failed due to signal 9 (Killed)".
#
# Why it surprises: a daemon closes its output on purpose, but the programs of coreutils do it too, on each exit, to find
# errors of the last write. Bash and dash replace themselves by the last command of `-c`. So `sh -c "…; chmod +x $out"`
# ends in a chmod that closes both outputs and then exits, and a busy machine leaves Nix time to kill it in between. With
# Nix 2.34.8, one job and three busy loops on two cores, 4 of 200 such builds failed; with `; exit` behind, which keeps
# the shell to the end, none of 200. The message looks like a lack of memory.
#
# Seen on 2026-11-28: for each builder its last command, and the result:
#   exec >&- 2>&-; sleep 2            failed due to signal 9
#   (exec >&- 2>&-; sleep 2)          built
#   exec >&-; sleep 2                 built
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
cd "$work"
# shellcheck source=/dev/null
. /etc/os-release
[ "$ID-$VERSION_ID" = debian-12 ] || die "no version is pinned for $ID $VERSION_ID; run it on Debian 12"

# unpack the package, and what it needs that this machine does not have, beside the system
mkdir -p archives/partial root
fetch() {
  apt-get install --yes --quiet=2 --download-only --no-install-recommends --allow-downgrades \
    --option "Dir::Cache::archives=$work/archives" nix-bin=2.8.0-1.1+b1 >apt.log 2>&1
}
fetch || { apt-get update --quiet=2 && fetch; } || die "apt-get could not fetch nix-bin: $(tail -n 1 apt.log)"
for archive in archives/*.deb; do
  [ ! -e "$archive" ] || dpkg-deb --extract "$archive" root
done
libraries=$(uname -m)-linux-gnu
export PATH=$work/root/usr/bin:$PATH LD_LIBRARY_PATH=$work/root/usr/lib/nix:$work/root/usr/lib/$libraries:$work/root/lib/$libraries
export NIX_STORE_DIR=$work/store NIX_STATE_DIR=$work/state NIX_LOG_DIR=$work/log NIX_CONF_DIR=$work/conf NIX_REMOTE=''
mkdir -p conf && printf '%s\n' 'build-users-group =' 'sandbox = false' 'substitute = false' "build-hook = $work/root/usr/libexec/nix/build-remote" \
  >conf/nix.conf

changed=0
expect() {
  local script=$1 expected=$2 found=built
  cat >build.nix <<END
derivation {
  name = "text";
  system = builtins.currentSystem;
  builder = "/bin/sh";
  PATH = "$PATH";
  args = [ "-c" "echo text > \$out; $script" ];
}
END
  nix-build --no-out-link build.nix >build.log 2>&1 || found=failed
  if [ "$found" = failed ] && grep --quiet 'due to signal 9' build.log; then found='failed due to signal 9'; fi
  printf '%-33s %s\n' "$script" "$found"
  [ "$found" = "$expected" ] && return
  echo "error: the builder that ends in '$script' was: $found; it was before: $expected" >&2
  changed=1
}
expect 'exec >&- 2>&-; sleep 2' 'failed due to signal 9'
expect '(exec >&- 2>&-; sleep 2)' built
expect 'exec >&-; sleep 2' built
exit "$changed"
