# virtualisation.nixoci for home-manager: images and rootless containers of a user.
# Units run while the user is logged in; for longer, `loginctl enable-linger`.
import ./module.nix {
  user = true;
  podman = { pkgs, ... }: pkgs.podman;

  definitions =
    {
      lib,
      cfg,
      deployment,
      ...
    }:
    [
      { home.packages = [ cfg.package ]; }
      (lib.mkIf (cfg.images != { }) {
        # podman reads the user's own file and no other, so this is all of it
        xdg.configFile."containers/storage.conf".source = "${cfg.imageStore}/storage.conf";
      })
      (lib.mkIf deployment.hasUnits {
        # with its .wants links, which start what starts by itself
        xdg.configFile."systemd/user" = {
          source = "${cfg.units}/lib/systemd/user";
          recursive = true;
        };
      })
    ];
}
