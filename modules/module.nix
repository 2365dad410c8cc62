# A module of virtualisation.nixoci, but for what NixOS and home-manager do not share.
{
  # Whether the containers are those of a user.
  user,
  # The package of podman that runs them, from the arguments of a module.
  podman,
  # More modules.
  imports ? [ ],
  # The other definitions, a list: from the arguments of a module, `cfg` and `deployment`.
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
