# virtualisation.nixoci for NixOS: images and containers of the system and of its users.
import ./module.nix {
  user = false;
  podman = { config, ... }: config.virtualisation.podman.package;
  imports = [
    ./users.nix
    ./substituter.nix
  ];

  definitions =
    {
      lib,
      config,
      cfg,
      deployment,
      ...
    }:
    let
      inherit (import ./system.nix { inherit config lib; })
        isService
        podmanAssertion
        podmanNameAssertions
        systemdAssertion
        ;
      uses = engine: lib.elem engine cfg.engines;
      inherit (config.virtualisation.containers.storage.settings.storage.options.overlay) mountopt;
      # One of these makes podman compare trees when it commits and builds (image_store/mount_options.py).
      comparing = [
        "redirect_dir=on"
        "metacopy=on"
      ];
    in
    [
      {
        assertions = [
          (podmanAssertion deployment)
          (systemdAssertion deployment)
        ]
        ++ podmanNameAssertions "root" deployment
        ++ deployment.unitAssertions (isService config.systemd.services) "systemd.services";

        virtualisation.podman.enable = lib.mkIf (uses "podman") (lib.mkDefault true);
        virtualisation.docker.enable = lib.mkIf (uses "docker" || uses "docker-containerd") (
          lib.mkDefault true
        );
        virtualisation.docker.daemon.settings = lib.mkIf (uses "docker-containerd") {
          features.containerd-snapshotter = lib.mkDefault true;
        };
        # dockerd takes this containerd if it runs, and else starts one of its own
        virtualisation.containerd.enable =
          lib.mkIf (lib.any uses [ "docker-containerd" "containerd" "kubernetes" ])
            (lib.mkDefault true);
        # dockerd reads its images when it starts; with live-restore, its containers run on
        systemd.services.docker = lib.mkIf (uses "docker") { restartTriggers = [ "${cfg.imageStore}" ]; };
        # another configuration may name another data root; also, this gives the service systemctl, which tells it the file
        systemd.services.nixoci-register-docker = lib.mkIf (uses "docker") {
          restartTriggers = [ (builtins.toJSON config.virtualisation.docker.daemon.settings) ];
        };
        environment.systemPackages = [ cfg.package ];

        # Nix does not see mounts. This keeps the images of containers, also of those that no unit started. It runs at
        # the boot, after each switch (it does not remain active) and before the garbage collector.
        systemd.services.nixoci-gc-roots = {
          description = "Garbage collector roots for the images of containers";
          wantedBy = [
            "multi-user.target"
            "nix-gc.service"
          ];
          before = [ "nix-gc.service" ];
          path = [
            config.nix.package
            config.virtualisation.podman.package
          ];
          serviceConfig = {
            Type = "oneshot";
            ExecStart = "${cfg.package}/bin/nixoci gc-roots";
          };
        };
      }
      # storage.conf refers to the store of its own generation, because podman fails if a store is missing
      (lib.mkIf (cfg.images != { }) {
        virtualisation.containers.storage.settings.storage.options = {
          additionalimagestores = [ "${cfg.imageStore}" ];
          overlay.mountopt = lib.mkDefault (lib.head comparing);
        };
        warnings = lib.optional (lib.intersectLists comparing (lib.splitString "," mountopt) == [ ]) (
          "virtualisation.containers.storage.settings.storage.options.overlay.mountopt: with `${mountopt}`, `podman commit` and"
          + " `podman build` write zeros for files of images whose owner or mode changed; add ${lib.head comparing}"
        );
      })
      (lib.mkIf deployment.hasUnits {
        systemd.packages = [ cfg.units ];
        systemd.targets.multi-user.wants = deployment.wanted;
      })
    ];
}
