# An image path, which `nixoci extract` makes from the blobs of one image for one platform.
{
  system,
  nixoci,
}:
{
  storeName,
  name,
  # The reference that the image was pinned by.
  reference,
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
  fixed =
    if narHash == null then
      { }
    else
      {
        outputHashMode = "recursive";
        outputHash = narHash;
      };
in
derivation (
  {
    inherit system;
    name = storeName;
    builder = "${nixoci}/bin/nixoci";
    args = [
      "extract"
      "blobs:${manifest}"
      (builtins.placeholder "out")
      "--name"
      name
      "--reference"
      reference
      "--digest"
      digest
      "--platform"
      platform
    ]
    ++ builtins.concatMap (blob: [
      "--blob"
      "${blob}=${blobs.${blob}}"
    ]) (builtins.attrNames blobs);
    preferLocalBuild = true;
    # Store paths inside of an image are no references to this machine's store.
    __structuredAttrs = true;
    unsafeDiscardReferences.out = true;
  }
  // fixed
)
