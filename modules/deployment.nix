# The deployment of the NixOS and the home-manager module: options, packages and assertions.
{
  lib,
  pkgs,
  # The value of the options.
  cfg,
  # The package of podman that runs the containers.
  podman,
  # Whether the containers belong to a user.
  user,
  # The path of the options.
  path ? "virtualisation.nixoci",
  # Settings for every unit.
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

  # The assertion reports a missing lock better than readFile.
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

  # As podman's generator names units.
  containerUnit = name: container: if container.serviceName == null then name else container.serviceName;
  quadletUnit =
    file:
    let
      parts = lib.splitString "." file;
      name = lib.concatStringsSep "." (lib.init parts);
      kind = lib.last parts;
    in
    if kind == "kube" then name else "${name}-${kind}";
  unitNames =
    lib.mapAttrsToList containerUnit cfg.containers
    ++ map (name: "${name}-volume") (lib.attrNames cfg.volumes)
    ++ map (name: "${name}-network") (lib.attrNames cfg.networks)
    ++ map (name: "${name}-pod") (lib.attrNames cfg.pods)
    ++ map quadletUnit (lib.attrNames cfg.quadlets);

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
    enable = lib.mkEnableOption "OCI images as store paths, and containers that run them";

    package = lib.mkPackageOption pkgs "nixoci" { };

    lock = lib.mkOption {
      type = types.nullOr types.path;
      default = null;
      example = lib.literalExpression "./nixoci.lock.json";
      description = "The lock file of this host's images, as written by `nixoci add`.";
    };

    platform = lib.mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "linux/arm64";
      description = "The platform of the images; by default the host's.";
    };

    images = lib.mkOption {
      type = types.attrsOf types.path;
      default = { };
      defaultText = lib.literalMD "the images of {option}`${path}.lock`";
      description = "Image paths by name. Podman's image store has all of them.";
    };

    backend = lib.mkOption {
      type = types.enum (schema.choices "Container" "backend");
      default = "podman";
      description = "The backend of containers that do not set one.";
    };

    seccompProfile = lib.mkOption {
      type = types.either types.path (types.enum [ "unconfined" ]);
      # podman has the profile compiled in; only its source has the file
      default = "${podman.src}/vendor/go.podman.io/common/pkg/seccomp/seccomp.json";
      defaultText = lib.literalMD "the profile in podman's source";
      description = "The seccomp profile of containers with the backend `bundle`, or `unconfined`.";
    };

    containers = mkContainers "Container" "Containers by name, which is also the name of the unit." [
      { config.backend = lib.mkDefault cfg.backend; }
    ];
    volumes = mkContainers "Volume" "Podman volumes by name; units create them." [ ];
    networks = mkContainers "Network" "Podman networks by name; units create them." [ ];
    pods = mkContainers "Pod" "Pods by name; units create them." [ ];
    quadlets = mkContainers "Quadlet" "Quadlet files of other kinds by name, for example `app.kube`." [ ];

    imageStore = lib.mkOption {
      type = types.package;
      readOnly = true;
      description = "The image store over all images, for `additionalimagestores` in storage.conf.";
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
        quadlets
        ;
      images = lib.mapAttrs (_: image: "${image}") cfg.images;
      imageStore = "${cfg.imageStore}";
    };
  };

  # Whether there are any units.
  hasUnits = unitNames != [ ];

  # All units without their suffix.
  inherit unitNames;

  # Units that start by themselves: NixOS and home-manager link units and ignore [Install] sections.
  wanted =
    let
      starting = lib.filterAttrs (_: item: item.autoStart);
    in
    map (name: "${name}.service") (
      lib.mapAttrsToList containerUnit (starting cfg.containers)
      ++ map quadletUnit (lib.attrNames (starting cfg.quadlets))
    );

  # Without the lock and the images nothing can be built; the build of the units checks everything else.
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
