# The systemd units of a deployment, as a package for `systemd.packages`: what `nixoci units` makes of the document.
{
  system,
  nixoci,
  # What the units call on the target, and what makes them.
  podman,
  crun,
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
  args = [
    "--seccomp"
    "${seccomp}"
    "--podman"
    "${podman}/bin/podman"
    "--crun"
    "${crun}/bin/crun"
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
    "--mkcomposefs"
    "${composefs}/bin/mkcomposefs"
  ];
  build =
    name: document: more:
    derivation {
      inherit system name;
      deployment = document;
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
