# The part that the NixOS and home-manager modules share.
{
  # Whether the containers belong to a user.
  user,
  # A function from a module's arguments to the podman package that runs them.
  podman,
  # Further modules.
  imports ? [ ],
  # A function from a module's arguments, `cfg` and `deployment` to a list of further definitions.
  definitions,
}:
{
  config,
  lib,
  pkgs,
  ...
}@arguments:
let
  cfg = config.virtualisation.nixoci;
  deployment = import ./deployment.nix {
    inherit
      lib
      pkgs
      cfg
      user
      ;
    podman = podman arguments;
  };
in
{
  inherit imports;

  options.virtualisation.nixoci = deployment.options;

  config = lib.mkIf cfg.enable (
    lib.mkMerge (
      [
        {
          assertions = [ deployment.lockAssertion ] ++ deployment.assertions;
          virtualisation.nixoci = { inherit (deployment) images imageStore units; };
        }
      ]
      ++ definitions (arguments // { inherit cfg deployment; })
    )
  );
}
