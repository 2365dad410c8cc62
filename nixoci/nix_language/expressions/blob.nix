# A registry blob as a store path: a fixed-output derivation whose hash is the blob's digest.
{
  system,
  nixoci,
  cacert,
  impureEnvVars,
}:
{
  # The image's name, for messages.
  image,
  # The blob's repository, `host/path`; null if the image was pinned from local files, which no build can read.
  repository,
  digest,
  # Registries serve manifests from another endpoint than blobs.
  isManifest,
}:
let
  source =
    if repository == null then
      [ ]
    else
      [
        "--repository"
        repository
      ];
in
derivation {
  inherit system;
  name = builtins.replaceStrings [ ":" ] [ "-" ] digest;
  builder = "${nixoci}/bin/nixoci";
  args = [
    "fetch-blob"
    digest
    (builtins.placeholder "out")
    "--image"
    image
    "--certificates"
    "${cacert}/etc/ssl/certs/ca-bundle.crt"
  ]
  ++ source
  ++ (if isManifest then [ "--manifest" ] else [ ]);
  outputHashMode = "flat";
  outputHash = digest;
  preferLocalBuild = true;
  inherit impureEnvVars;
}
