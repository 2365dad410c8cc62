# A delta between two paths that are already in the store.
{
  from,
  to,
  nixoci,
  system ? builtins.currentSystem,
  effort ? "default",
}:
let
  # a plain string would not become an input of the build
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
