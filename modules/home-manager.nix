# virtualisation.nixoci for home-manager: images and rootless containers of a user.
# Units run while the user is logged in; for longer, `loginctl enable-linger`.
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
    podman = pkgs.podman;
    user = true;
  };
in
{
  options.virtualisation.nixoci = deployment.options;

  config = lib.mkIf cfg.enable (
    lib.mkMerge [
      {
        inherit (deployment) assertions;
        virtualisation.nixoci = { inherit (deployment) images imageStore units; };
        home.packages = [ cfg.package ];
      }
      # rootless podman reads the user's own file and no other, so this is all of it
      (lib.mkIf (cfg.images != { }) {
        xdg.configFile."containers/storage.conf".text = ''
          [storage]
          driver = "overlay"

          [storage.options]
          additionalimagestores = ["${cfg.imageStore}"]
        '';
      })
      (lib.mkIf deployment.hasUnits {
        # with its .wants links, which start what starts by itself
        xdg.configFile."systemd/user" = {
          source = "${cfg.units}/lib/systemd/user";
          recursive = true;
        };
      })
    ]
  );
}
