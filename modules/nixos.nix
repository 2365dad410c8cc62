# virtualisation.nixoci for NixOS: images and containers of the system and of its users.
import ./module.nix {
  user = false;
  podman = { config, ... }: config.virtualisation.podman.package;
  imports = [ ./users.nix ];

  definitions =
    {
      lib,
      cfg,
      deployment,
      ...
    }:
    [
      {
        virtualisation.podman.enable = lib.mkDefault true;
        environment.systemPackages = [ cfg.package ];
      }
      # storage.conf refers to the store of its own generation, because podman fails if a store is missing
      (lib.mkIf (cfg.images != { }) {
        virtualisation.containers.storage.settings.storage.options.additionalimagestores = [
          "${cfg.imageStore}"
        ];
      })
      (lib.mkIf deployment.hasUnits {
        systemd.packages = [ cfg.units ];
        systemd.targets.multi-user.wants = deployment.wanted;
      })
    ];
}
