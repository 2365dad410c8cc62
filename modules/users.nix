# virtualisation.nixoci.users: rootless containers of a NixOS machine's users, run by the systemd of each user.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) types;

  cfg = config.virtualisation.nixoci;

  # The options of a user; all other options, such as images, are the machine's.
  deploymentOf =
    name: own:
    import ./deployment.nix {
      inherit lib pkgs;
      cfg = cfg // own;
      podman = config.virtualisation.podman.package;
      user = true;
      path = "virtualisation.nixoci.users.${name}";
      # all users' units are in one directory, which every user's systemd reads
      unit.Unit.ConditionUser = name;
    };

  inherit (import ./system.nix { inherit config lib; })
    isService
    podmanAssertion
    podmanNameAssertions
    ;

  deployments = lib.mapAttrs deploymentOf cfg.users;

  # All users have the machine's images, and so the same store.
  store = (lib.head (lib.attrValues cfg.users)).imageStore;
  conf = "nixoci/storage.conf";

  namesOf = user: deployment: lib.genAttrs deployment.unitNames (_: user);
  owners = lib.zipAttrs (lib.mapAttrsToList namesOf deployments);
in
{
  options.virtualisation.nixoci.users = lib.mkOption {
    default = { };
    description = ''
      Users who run rootless containers, by name. Each has the machine's options {option}`backend`,
      {option}`containers`, {option}`volumes`, {option}`networks`, {option}`pods` and {option}`quadlets`, and the read-only
      {option}`imageStore` and {option}`units`. The user's systemd runs as long as the machine (lingering), the user gets subordinate ids for the
      owners in images, and `~/.config/containers/storage.conf` becomes a link, so that podman finds the images. The
      units of all users are in one directory and run for their own user only; therefore two users cannot have a
      container of the same name. A switch restarts containers with changed units on NixOS 26.05 and newer; on older
      versions they run on until `systemctl --user restart`.
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
              quadlets
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
          lib.concatLists (
            lib.mapAttrsToList (
              user: deployment:
              deployment.assertions
              ++ [ (podmanAssertion deployment) ]
              ++ podmanNameAssertions user deployment
              ++ deployment.unitAssertions (isService config.systemd.user.services) "systemd.user.services"
            ) deployments
          )
          ++ [
            {
              assertion = !cfg.users ? root;
              message =
                "virtualisation.nixoci.users.root: root's containers are the machine's;"
                + " declare them in virtualisation.nixoci.containers";
            }
          ]
          ++ lib.mapAttrsToList (unit: users: {
            assertion = lib.length users == 1;
            message =
              "virtualisation.nixoci.users: ${lib.concatStringsSep " and " users} each have a unit ${unit}.service;"
              + " all users' units are in one directory, rename one of them";
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
