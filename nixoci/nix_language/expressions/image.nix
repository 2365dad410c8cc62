# An image path, which `nixoci extract` makes from the blobs of one image for one platform. If its hash is known,
# `nixoci fetch-image` makes it while it reads the registry, and no blob reaches the store.
{
  system,
  nixoci,
  cacert,
  impureEnvVars,
}:
{
  storeName,
  name,
  # The reference that the image was pinned by.
  reference,
  # The image's repository, `host/path`; null if it was pinned from local files, which no build can read.
  repository,
  # The digest that the reference resolved to, of an index or a manifest.
  digest,
  platform,
  # The digest of the manifest, which names the other blobs.
  manifest,
  # Store paths by digest.
  blobs,
  # The SRI hash of the image path, if it is known; the path then depends on nothing else.
  narHash,
}:
let
  described = [
    "--reference"
    reference
    "--digest"
    digest
    "--platform"
    platform
  ];
  fromBlobs = {
    args = [
      "extract"
      "blobs:${manifest}"
      (builtins.placeholder "out")
      "--name"
      name
    ]
    ++ described
    ++ builtins.concatMap (blob: [
      "--blob"
      "${blob}=${blobs.${blob}}"
    ]) (builtins.attrNames blobs);
  };
  fromRegistry = {
    args = [
      "fetch-image"
      manifest
      (builtins.placeholder "out")
      "--image"
      name
      "--certificates"
      "${cacert}/etc/ssl/certs/ca-bundle.crt"
    ]
    ++ described
    ++ (
      if repository == null then
        [ ]
      else
        [
          "--repository"
          repository
        ]
    );
    inherit impureEnvVars;
    outputHashMode = "recursive";
    outputHash = narHash;
  };
in
derivation (
  {
    inherit system;
    name = storeName;
    builder = "${nixoci}/bin/nixoci";
    preferLocalBuild = true;
    # Store paths inside of an image are no references to this machine's store.
    __structuredAttrs = true;
    unsafeDiscardReferences.out = true;
  }
  // (if narHash == null then fromBlobs else fromRegistry)
)
