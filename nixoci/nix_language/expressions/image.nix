# An image path: what `nixoci extract` makes of the blobs of one image on one platform.
{
  system,
  nixoci,
}:
{
  storeName,
  name,
  # What it was pinned by.
  reference,
  # What the reference resolved to, index or manifest.
  digest,
  platform,
  # The manifest's digest; it names the other blobs.
  manifest,
  # Store paths by digest.
  blobs,
  # The SRI hash of the image path if it is known: then the path depends on nothing else.
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
    # An image that itself holds store paths must not keep this machine's alive.
    __structuredAttrs = true;
    unsafeDiscardReferences.out = true;
  }
  // fixed
)
