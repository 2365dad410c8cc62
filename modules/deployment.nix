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
      imageStore = makeStore;
      seccomp = cfg.seccompProfile;
      inherit (pkgs)
        bash
        containerd
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
  # The reference by which each image of the lock was pinned.
  references = lib.optionalAttrs lockExists (
    builtins.addErrorContext "while reading the lock ${toString cfg.lock}" (
      lib.mapAttrs (_: image: image.reference or "") ((lib.importJSON cfg.lock).images or { })
    )
  );

  # A reference may also name an image: as it is in the lock, or as `podman run` takes it for one of docker.io.
  nameOf =
    image:
    let
      meant = lib.concatMap (
        reference: [
          reference
          "${reference}:latest"
        ]
      ) (map (prefix: prefix + image) [ "" "docker.io/" "docker.io/library/" ]);
      found = lib.filter (name: lib.elem references.${name} meant) (lib.attrNames references);
    in
    if cfg.images ? ${image} || found == [ ] then image else lib.head found;

  fromOciContainers = import ./oci-containers.nix { inherit lib; };

  mkItems =
    type: description:
    lib.mkOption {
      type = types.attrsOf type;
      default = { };
      inherit description;
    };
  settings.config.settings = { inherit unit; };
  mkEngineItems = what: mkItems (schema.submodule what [ settings ]);

  # The name of the unit of each item, by the option that it is declared with.
  unitOf = {
    containers = containerUnit;
    volumes = name: _: "${name}-volume";
    networks = name: _: "${name}-network";
    pods = name: _: "${name}-pod";
    quadlets = name: _: quadletUnit name;
  };
  unitsOf =
    kind: nameOfUnit:
    lib.mapAttrsToList (name: item: {
      unit = nameOfUnit name item;
      option = "${path}.${kind}.${name}";
    }) cfg.${kind};

  # The engines that a service registers the images with.
  registered = lib.subtractLists [ "podman" ] cfg.engines;

  # Everything that has a unit: its name, and the option that made it.
  made = lib.concatLists (lib.mapAttrsToList unitsOf unitOf);

  imageAssertion = name: container: {
    assertion = cfg.images ? ${container.image};
    message =
      "${path}.containers.${name}.image: no image ${container.image}; known are "
      + (if cfg.images == { } then "none" else lib.concatStringsSep ", " (lib.attrNames cfg.images))
      + "; add it to the lock with `nixoci add "
      + (
        if lib.hasInfix "/" container.image || lib.hasInfix ":" container.image then
          container.image
        else
          "REFERENCE --name ${container.image}"
      )
      + "`";
  };

  # What a backend refuses, with the text of the build.
  refusalAssertions =
    name: container:
    map (
      refusal:
      let
        option = lib.splitString "." refusal.option;
      in
      {
        assertion =
          (refusal.user or false && !user)
          || !lib.hasAttrByPath option container
          || lib.elem (lib.getAttrFromPath option container) (refusal.allowed or [ ]);
        message = "${path}.containers.${name}.${refusal.option}: ${refusal.reason}";
      }
    ) schema.refusals.${container.backend};

  # The containers that one of the backends runs.
  containersOf =
    backends:
    let
      own = lib.filterAttrs (_: container: lib.elem container.backend backends) cfg.containers;
    in
    map (name: {
      inherit name;
      option = "${path}.containers.${name}";
    }) (lib.attrNames own);
  inPodman = containersOf [
    "podman"
    "rootfs"
  ];
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

    engines = lib.mkOption {
      type = types.listOf (types.enum ([ "podman" ] ++ schema.elements "Deployment" "engines"));
      default = [ "podman" ];
      example = [
        "podman"
        "docker"
      ];
      description = ''
        Engines that find all images among their own. `podman` reads the image store. For the others a service registers
        the images: `docker` with the storage driver overlay2, `docker-containerd` (Docker with its containerd image store),
        `containerd` (its namespace `default`), `kubernetes` (containerd's namespace `k8s.io`) and `k3s`.
      '';
    };

    seccompProfile = lib.mkOption {
      type = types.either types.path (types.enum [ "unconfined" ]);
      # podman has the profile compiled in; only its source has the file
      default = "${podman.src}/vendor/go.podman.io/common/pkg/seccomp/seccomp.json";
      defaultText = lib.literalMD "the profile in podman's source";
      description = "The seccomp profile of containers with the backend `bundle` or `systemd`, or `unconfined`.";
    };

    containers = mkItems (fromOciContainers (
      schema.submodule "Container" [
        settings
        {
          options.image = lib.mkOption { apply = nameOf; };
          config.backend = lib.mkDefault cfg.backend;
        }
      ]
    )) "Containers by name, which is also the name of the unit.";
    volumes = mkEngineItems "Volume" "Podman volumes by name; units create them.";
    networks = mkEngineItems "Network" "Podman networks by name; units create them.";
    pods = mkEngineItems "Pod" "Pods by name; units create them.";
    quadlets = mkEngineItems "Quadlet" "Quadlet files of other kinds by name, for example `app.kube`.";

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
          inherit (pkgs) cacert erofs-utils;
        }
      )).images
  );

  imageStore = if user then store.rootless else store;

  units = makeUnits {
    inherit user;
    optionPrefix = "${path}.";
    deployment = {
      engines = if user then [ ] else registered;
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

  unitNames = map (each: each.unit) made;

  # Whether there are any units.
  hasUnits = made != [ ] || (!user && registered != [ ]);

  # The containers that systemd alone runs.
  ofSystemd = map (each: each.option) (containersOf [ "systemd" ]);

  # The containers that podman has, by their names.
  inherit inPodman;

  # Options whose units podman runs.
  ofPodman = map (each: each.option) (
    inPodman ++ lib.concatLists (lib.mapAttrsToList unitsOf (removeAttrs unitOf [ "containers" ]))
  );

  # Units that start by themselves: NixOS and home-manager link units and ignore [Install] sections.
  wanted =
    let
      starting = lib.filterAttrs (_: item: item.autoStart);
    in
    map (name: "${name}.service") (
      lib.mapAttrsToList containerUnit (starting cfg.containers)
      ++ map quadletUnit (lib.attrNames (starting cfg.quadlets))
      ++ lib.optionals (!user) (map (engine: "nixoci-register-${engine}") registered)
    );

  # The mistakes that are made most; the build of the units checks everything else.
  lockAssertion = {
    assertion = cfg.lock == null || lockExists;
    message = "${path}.lock: ${toString cfg.lock} does not exist; make it with `nixoci add`, and add it to git";
  };
  assertions = lib.concatLists (
    lib.mapAttrsToList (
      name: container: [ (imageAssertion name container) ] ++ refusalAssertions name container
    ) cfg.containers
  );

  # Refuse units that the configuration has besides: the two would become one. A unit that only adds to it is right.
  unitAssertions =
    isTaken: other:
    map (each: {
      assertion = !isTaken each.unit;
      message = "${each.option}: its unit is ${each.unit}.service, and so is ${other}.${each.unit}; rename one of them";
    }) made;
}
