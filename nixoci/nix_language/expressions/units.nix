# The systemd units of a deployment, made by `nixoci units`, as a package for `systemd.packages`.
{
  system,
  nixoci,
  # The programs that make the units, and that the units call on the target.
  podman,
  crun,
  runc,
  util-linux,
  systemd,
  bash,
  coreutils,
  composefs,
  containerd,
  # The value of image-store.nix for these tools.
  imageStore,
  # The seccomp profile of bundles: a file like containers-common's seccomp.json, or "unconfined".
  seccomp,
}:
{
  # The document, as described by `nixoci units --schema`.
  deployment,
  # Whether the units are for a user's own systemd.
  user ? false,
  # A prefix of options in error messages.
  optionPrefix ? "",
}:
let
  # toJSON writes a set with an attribute outPath or __toString as that string. Such a set, for example of environment
  # variables, is therefore written as a list of its members, which `nixoci units --attribute` reads.
  toJSONValue =
    value:
    if builtins.isList value then
      map toJSONValue value
    else if !builtins.isAttrs value || value.type or null == "derivation" then
      value
    else if value ? outPath || value ? __toString || value ? __members then
      {
        __members = map (name: {
          inherit name;
          value = toJSONValue value.${name};
        }) (builtins.attrNames value);
      }
    else
      builtins.mapAttrs (_: toJSONValue) value;
  args = [
    "--seccomp"
    "${seccomp}"
    "--podman"
    "${podman}/bin/podman"
    "--crun"
    "${crun}/bin/crun"
    "--runc"
    "${runc}/bin/runc"
    "--mount"
    "${util-linux}/bin/mount"
    "--umount"
    "${util-linux}/bin/umount"
    "--nsenter"
    "${util-linux}/bin/nsenter"
    "--systemctl"
    "${systemd}/bin/systemctl"
    "--systemd-tmpfiles"
    "${systemd}/bin/systemd-tmpfiles"
    "--sh"
    "${bash}/bin/sh"
    "--sleep"
    "${coreutils}/bin/sleep"
    "--timeout"
    "${coreutils}/bin/timeout"
    "--cat"
    "${coreutils}/bin/cat"
    "--cp"
    "${coreutils}/bin/cp"
    "--mv"
    "${coreutils}/bin/mv"
    "--mkdir"
    "${coreutils}/bin/mkdir"
    "--mkfifo"
    "${coreutils}/bin/mkfifo"
    "--rm"
    "${coreutils}/bin/rm"
    "--nixoci"
    "${nixoci}/bin/nixoci"
    "--mkcomposefs"
    "${composefs}/bin/mkcomposefs"
  ];
  # only who registers images with containerd needs it
  ctr =
    if builtins.all (engine: engine == "docker") (deployment.engines or [ ]) then
      [ ]
    else
      [
        "--ctr"
        "${containerd}/bin/ctr"
      ];
  build =
    name: document: more:
    derivation {
      inherit system name;
      deployment = toJSONValue document;
      builder = "${nixoci}/bin/nixoci";
      args = [
        "units"
        # Nix writes it to the build's directory
        ".attrs.json"
        (builtins.placeholder "out")
        "--attribute"
        "deployment"
        "--option-prefix"
        optionPrefix
      ]
      ++ args
      ++ more;
      preferLocalBuild = true;
      # A document may be larger than an environment variable or an argument may be.
      __structuredAttrs = true;
    };
  # The units of a container without podman contain the path of their own output. Each therefore has its own output,
  # made from its container and its image only, so that other changes do not restart it.
  bundle =
    name:
    let
      container = deployment.containers.${name};
      # All that a bundle's unit says of other containers is the names of their units.
      renamed = builtins.filter (other: (deployment.containers.${other}.serviceName or null) != null) (
        container.dependsOn or [ ]
      );
      named = map (other: {
        name = other;
        value = {
          image = "";
          inherit (deployment.containers.${other}) serviceName;
        };
      }) renamed;
    in
    build "nixoci-bundle" {
      images.${container.image} = deployment.images.${container.image};
      imageStore = "${imageStore.entry deployment.images.${container.image}}";
      containers = builtins.listToAttrs named // {
        ${name} = container;
      };
    } [ "--only" name ];
  bundles = builtins.filter (
    name:
    let
      container = deployment.containers.${name};
    in
    # a container without an image is an error of the whole deployment
    builtins.elem (container.backend or "podman") [
      "bundle"
      "systemd"
    ]
    && deployment.images ? ${container.image}
  ) (builtins.attrNames (deployment.containers or { }));
in
build (if user then "nixoci-user-units" else "nixoci-units") deployment (
  ctr
  ++ builtins.concatMap (name: [
    "--bundle"
    name
    "${bundle name}"
  ]) (if user then [ ] else bundles)
  ++ (if user then [ "--user" ] else [ ])
)
