# A delta between two paths that are already in the store, for those who have no derivation of them.
{
  from,
  to,
  nixoci,
  system ? builtins.currentSystem,
  effort ? "default",
}:
let
  # builds get what is in the store only if it is named as such
  storePath =
    path: if builtins.match "/nix/store/.*" path == null then path else builtins.storePath path;
in
import ./delta.nix
  {
    inherit system;
    nixoci = storePath nixoci;
  }
  {
    from = storePath from;
    to = storePath to;
    inherit effort;
  }
