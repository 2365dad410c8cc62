# virtualisation.nixoci.users: rootless containers of a NixOS machine's users, under their own systemd.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) types;

  cfg = config.virtualisation.nixoci;

  # A user's own part of the options; images, and all else, are the machine's.
  deploymentOf =
    name: own:
    import ./deployment.nix {
      inherit lib pkgs;
      cfg = cfg // own;
      podman = config.virtualisation.podman.package;
      user = true;
      path = "virtualisation.nixoci.users.${name}";
      # units of all users are in one place, and each user's systemd reads them all
      unit.Unit.ConditionUser = name;
    };

  deployments = lib.mapAttrs deploymentOf cfg.users;

  # All users' images are the machine's, so their stores are one.
  store = (lib.head (lib.attrValues cfg.users)).imageStore;
  conf = "nixoci/storage.conf";

  unitNames =
    own:
    lib.attrNames own.containers
    ++ map (name: "${name}-volume") (lib.attrNames own.volumes)
    ++ map (name: "${name}-network") (lib.attrNames own.networks)
    ++ map (name: "${name}-pod") (lib.attrNames own.pods);

  namesOf = user: own: lib.genAttrs (unitNames own) (_: user);
  owners = lib.zipAttrs (lib.mapAttrsToList namesOf cfg.users);
in
{
  options.virtualisation.nixoci.users = lib.mkOption {
    default = { };
    description = ''
      Users who run containers without root, by name; each has {option}`backend`, {option}`containers`,
      {option}`volumes`, {option}`networks` and {option}`pods` as the machine has them, and the read-only
      {option}`imageStore` and {option}`units`. The user's systemd runs while the machine does (lingering), the user has
      ids for the owners in images, and `~/.config/containers/storage.conf` becomes a link, so that podman finds the
      images. Units of all users are in one place, and run for their own user alone: no two users can have a
      container of one name. A switch restarts those whose units have changed on NixOS 26.05 and newer; before that,
      they run on until `systemctl --user restart`.
    '';
    type = types.attrsOf (
      types.submodule (
        { name, config, ... }:
        let
          deployment = deploymentOf name config;
        in
        {
          options = {
            inherit (deployment.options)
              backend
              containers
              volumes
              networks
              pods
              imageStore
              units
              ;
          };
          config = { inherit (deployment) imageStore units; };
        }
      )
    );
  };

  config = lib.mkIf (cfg.enable && cfg.users != { }) (
    lib.mkMerge [
      {
        assertions =
          lib.concatMap (deployment: deployment.assertions) (lib.attrValues deployments)
          ++ lib.mapAttrsToList (unit: users: {
            assertion = lib.length users == 1;
            message =
              "virtualisation.nixoci.users: ${lib.concatStringsSep " and " users} have a unit ${unit}.service each;"
              + " units of all users are in one place, rename one of them";
          }) owners;

        users.users = lib.mapAttrs (_: _: {
          linger = lib.mkDefault true;
          autoSubUidGidRange = lib.mkDefault true;
        }) cfg.users;
      }
      (lib.mkIf (cfg.images != { }) {
        environment.etc.${conf}.source = "${store}/storage.conf";
        systemd.user.tmpfiles.users = lib.mapAttrs (_: _: {
          rules = [ "L+ %h/.config/containers/storage.conf - - - - /etc/${conf}" ];
        }) cfg.users;
      })
      {
        systemd.packages = lib.concatMap (
          deployment: lib.optional deployment.hasUnits deployment.units
        ) (lib.attrValues deployments);
        systemd.user.targets.default.wants = lib.concatMap (deployment: deployment.wanted) (
          lib.attrValues deployments
        );
      }
    ]
  );
}
