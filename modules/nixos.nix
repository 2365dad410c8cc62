# virtualisation.nixoci for NixOS: images and containers of the system.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.virtualisation.nixoci;
  deployment = import ./deployment.nix {
    inherit lib pkgs cfg;
    podman = config.virtualisation.podman.package;
    user = false;
  };
in
{
  options.virtualisation.nixoci = deployment.options;

  config = lib.mkIf cfg.enable (
    lib.mkMerge [
      {
        inherit (deployment) assertions;
        virtualisation.nixoci = { inherit (deployment) images imageStore units; };
        virtualisation.podman.enable = lib.mkDefault true;
        environment.systemPackages = [ cfg.package ];
      }
      # storage.conf names the store of its own generation: podman fails if the store is not there
      (lib.mkIf (cfg.images != { }) {
        virtualisation.containers.storage.settings.storage.options.additionalimagestores = [
          "${cfg.imageStore}"
        ];
      })
      (lib.mkIf deployment.hasUnits {
        systemd.packages = [ cfg.units ];
        systemd.targets.multi-user.wants = deployment.wanted;
      })
    ]
  );
}
