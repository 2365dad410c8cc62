# A blob of a registry as a store path: a fixed-output derivation that has the blob's digest for its hash.
{
  system,
  nixoci,
  oras,
  cacert,
}:
{
  # The image to name in messages.
  image,
  # Where the blob is, `host/path`; null if the image was pinned from local files, which no build reads.
  repository,
  digest,
  # Registries serve manifests from a place of their own.
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
        "--oras"
        "${oras}/bin/oras"
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
  ]
  ++ source
  ++ (if isManifest then [ "--manifest" ] else [ ]);
  outputHashMode = "flat";
  outputHash = digest;
  preferLocalBuild = true;
  SSL_CERT_FILE = "${cacert}/etc/ssl/certs/ca-bundle.crt";
  impureEnvVars = [
    "http_proxy"
    "https_proxy"
    "no_proxy"
    "HTTP_PROXY"
    "HTTPS_PROXY"
    "NO_PROXY"
  ];
}
