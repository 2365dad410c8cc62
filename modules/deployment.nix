# What the NixOS and the home-manager module have in common: the options, what they build, and what must hold.
{
  lib,
  pkgs,
  # The value of the options.
  cfg,
  # The package of podman that runs the containers.
  podman,
  # Whether the containers are those of a user.
  user,
  # Where the options are.
  path ? "virtualisation.nixoci",
  # What is passed through to every unit.
  unit ? { },
}:
let
  inherit (lib) types;

  schema = import ./schema.nix { inherit lib; };
  tools = {
    inherit (pkgs.stdenv.hostPlatform) system;
    nixoci = cfg.package;
    inherit (pkgs) composefs;
  };

  # A lock that is not there is the assertion's to report, not readFile's.
  lockExists = cfg.lock != null && builtins.pathExists cfg.lock;

  makeStore = import ../nixoci/nix_language/expressions/image-store.nix tools;
  makeUnits = import ../nixoci/nix_language/expressions/units.nix (
    tools
    // {
      inherit podman;
      seccomp = cfg.seccompProfile;
      inherit (pkgs)
        bash
        coreutils
        crun
        runc
        systemd
        util-linux
        ;
    }
  );

  store = makeStore (lib.attrValues cfg.images);

  mkContainers =
    what: description: modules:
    lib.mkOption {
      type = types.attrsOf (
        schema.submodule what ([ { config.settings = { inherit unit; }; } ] ++ modules)
      );
      default = { };
      inherit description;
    };
in
{
  options = {
    enable = lib.mkEnableOption "OCI images as store paths, and containers of them";

    package = lib.mkPackageOption pkgs "nixoci" { };

    lock = lib.mkOption {
      type = types.nullOr types.path;
      default = null;
      example = lib.literalExpression "./nixoci.lock.json";
      description = "The lock file whose images this host has, as `nixoci add` writes it.";
    };

    platform = lib.mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "linux/arm64";
      description = "The platform to take images of; what the host runs if not set.";
    };

    images = lib.mkOption {
      type = types.attrsOf types.path;
      default = { };
      defaultText = lib.literalMD "the images of {option}`${path}.lock`";
      description = "Image paths by name. All of them are in podman's image store.";
    };

    backend = lib.mkOption {
      type = types.enum (schema.choices "Container" "backend");
      default = "podman";
      description = "What runs the containers that do not say it themselves.";
    };

    seccompProfile = lib.mkOption {
      type = types.either types.path (types.enum [ "unconfined" ]);
      # podman has it compiled in; the file is that of its source
      default = "${podman.src}/vendor/go.podman.io/common/pkg/seccomp/seccomp.json";
      defaultText = lib.literalMD "the profile in podman's source";
      description = "The seccomp profile of containers whose backend is `bundle`, or `unconfined`.";
    };

    containers = mkContainers "Container" "Containers by name; each is NAME.service." [
      { config.backend = lib.mkDefault cfg.backend; }
    ];
    volumes = mkContainers "Volume" "Volumes of podman that units create, by name." [ ];
    networks = mkContainers "Network" "Networks of podman that units create, by name." [ ];
    pods = mkContainers "Pod" "Pods that units create, by name." [ ];

    imageStore = lib.mkOption {
      type = types.package;
      readOnly = true;
      description = "The image store over all images, for `additionalimagestores` of storage.conf.";
    };

    units = lib.mkOption {
      type = types.package;
      readOnly = true;
      description = "The units of the containers.";
    };
  };

  images = lib.optionalAttrs lockExists (
    lib.mapAttrs (_: lib.mkDefault)
      (import ../nix (
        tools
        // {
          inherit (cfg) lock platform;
          inherit (pkgs) oras cacert;
        }
      )).images
  );

  imageStore = if user then store.rootless else store;

  units = makeUnits {
    inherit user;
    optionPrefix = "${path}.";
    deployment = {
      inherit (cfg)
        containers
        volumes
        networks
        pods
        ;
      images = lib.mapAttrs (_: image: "${image}") cfg.images;
      imageStore = "${cfg.imageStore}";
    };
  };

  # Whether there is anything for systemd.
  hasUnits = cfg.containers != { } || cfg.volumes != { } || cfg.networks != { } || cfg.pods != { };

  # What starts by itself: [Install] sections are not read by those who link units into place.
  wanted = map (name: "${name}.service") (
    lib.attrNames (lib.filterAttrs (_: container: container.autoStart) cfg.containers)
  );

  # What cannot wait for the build of the units, which checks everything else: without it, nothing can be built.
  lockAssertion = {
    assertion = cfg.lock == null || lockExists;
    message = "${path}.lock: ${toString cfg.lock} does not exist; make it with `nixoci add`, and add it to git";
  };
  assertions = lib.mapAttrsToList (name: container: {
    assertion = cfg.images ? ${container.image};
    message =
      "${path}.containers.${name}.image: no image ${container.image}; known are "
      + (if cfg.images == { } then "none" else lib.concatStringsSep ", " (lib.attrNames cfg.images))
      + "; add it to the lock with `nixoci add`";
  }) cfg.containers;
}
