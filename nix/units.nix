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
}:
derivation {
  inherit system deployment;
  name = if user then "nixoci-user-units" else "nixoci-units";
  builder = "${nixoci}/bin/nixoci";
  args = [
    "units"
    # written by Nix to the directory that the build starts in
    ".attrs.json"
    (builtins.placeholder "out")
    "--attribute"
    "deployment"
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
    "--mkcomposefs"
    "${composefs}/bin/mkcomposefs"
  ]
  ++ (if user then [ "--user" ] else [ ]);
  preferLocalBuild = true;
  # A document may be larger than what an environment variable or an argument holds.
  __structuredAttrs = true;
}
