# `nix run .#delta -- FROM TO [OPTION...]`: build the delta between two store paths and print its path.
{
  writeShellScript,
  nixoci,
  system,
}:
writeShellScript "nixoci-delta" ''
  set -eu
  if [ $# -lt 2 ]; then
    echo "usage: delta FROM TO [--argstr effort fast|default] [nix-build option...]" >&2
    exit 2
  fi
  from=$(realpath -e -- "$1")
  to=$(realpath -e -- "$2")
  shift 2
  # the whole folder, because delta-of-paths.nix imports another file of it
  exec nix-build --no-out-link ${./.}/delta-of-paths.nix \
    --argstr system ${system} --argstr nixoci ${nixoci} --argstr from "$from" --argstr to "$to" "$@"
''
