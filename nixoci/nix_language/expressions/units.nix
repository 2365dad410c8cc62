# The systemd units of a deployment, as a package for `systemd.packages`: what `nixoci units` makes of the document.
{
  system,
  nixoci,
  # What the units call on the target, and what makes them.
  podman,
  crun,
  runc,
  util-linux,
  systemd,
  bash,
  coreutils,
  composefs,
  # The seccomp profile of bundles, a file as containers-common has it, or "unconfined".
  seccomp,
}:
{
  # The document that `nixoci units --schema` describes.
  deployment,
  # Whether they are for a user's own systemd.
  user ? false,
  # What errors write before an option of the document.
  optionPrefix ? "",
}:
let
  # To Nix's JSON a set with an attribute outPath or __toString is that string. Such a set, of variables for example,
  # is written as the list of its members; `nixoci units --attribute` reads it.
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
    "--mkdir"
    "${coreutils}/bin/mkdir"
    "--mkfifo"
    "${coreutils}/bin/mkfifo"
    "--rm"
    "${coreutils}/bin/rm"
    "--mkcomposefs"
    "${composefs}/bin/mkcomposefs"
  ];
  build =
    name: document: more:
    derivation {
      inherit system name;
      deployment = toJSONValue document;
      builder = "${nixoci}/bin/nixoci";
      args = [
        "units"
        # written by Nix to the directory that the build starts in
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
      # A document may be larger than what an environment variable or an argument holds.
      __structuredAttrs = true;
    };
  # A bundle's units name the output that they are in. So each bundle has one of its own, made from nothing but its
  # container and its image, and a switch that changes something else does not restart it.
  bundle =
    name:
    let
      container = deployment.containers.${name};
    in
    build "nixoci-bundle" {
      images.${container.image} = deployment.images.${container.image};
      containers.${name} = container;
    } [ "--only" name ];
  bundles = builtins.filter (
    name:
    let
      container = deployment.containers.${name};
    in
    # what has no image is refused with the whole
    (container.backend or "podman") == "bundle" && deployment.images ? ${container.image}
  ) (builtins.attrNames (deployment.containers or { }));
in
build (if user then "nixoci-user-units" else "nixoci-units") deployment (
  builtins.concatMap (name: [
    "--bundle"
    name
    "${bundle name}"
  ]) (if user then [ ] else bundles)
  ++ (if user then [ "--user" ] else [ ])
)
