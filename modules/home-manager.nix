# virtualisation.nixoci for home-manager: images and rootless containers of a user.
# Units run while the user is logged in; `loginctl enable-linger` keeps them running.
import ./module.nix {
  user = true;
  podman = { pkgs, ... }: pkgs.podman;

  definitions =
    {
      lib,
      config,
      cfg,
      deployment,
      ...
    }:
    [
      {
        # home-manager would install two files of one name
        assertions = deployment.unitAssertions (
          unit: config.systemd.user.services ? ${unit}
        ) "systemd.user.services";
        home.packages = [ cfg.package ];
      }
      (lib.mkIf (cfg.images != { }) {
        # podman reads only the user's own file, so it must be complete
        xdg.configFile."containers/storage.conf".source = "${cfg.imageStore}/storage.conf";
      })
      (lib.mkIf deployment.hasUnits {
        # includes the .wants links of units that start by themselves
        xdg.configFile."systemd/user" = {
          source = "${cfg.units}/lib/systemd/user";
          recursive = true;
        };
      })
    ];
}
