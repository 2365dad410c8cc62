# The images of a lock, an image store and a layer cache of all of them, for one platform.
{
  # The values of reference.nix, blob.nix, image.nix, image-store.nix and layer-cache.nix.
  reference,
  blob,
  image,
  imageStore,
  layerCache,
  # The value of the lock file.
  lock,
  # The version of the extraction format that nixoci writes.
  formatVersion,
  # The system that builds.
  system,
  # The platform of the images, such as `linux/arm64`; null for the one that `system` runs.
  platform,
  nixoci,
  composefs,
  erofs-utils,
  cacert,
}:
let
  # Nix passes them on to builds that may read registries, as to the fetchers of nixpkgs.
  impureEnvVars = [
    "http_proxy"
    "https_proxy"
    "all_proxy"
    "no_proxy"
    "HTTP_PROXY"
    "HTTPS_PROXY"
    "ALL_PROXY"
    "NO_PROXY"
    "NIX_SSL_CERT_FILE"
  ];
  network = {
    inherit
      system
      nixoci
      cacert
      impureEnvVars
      ;
  };
  fetchBlob = blob network;
  makeImage = image network;
  joinImages = imageStore { inherit system nixoci composefs; };
  cacheLayers = layerCache { inherit system nixoci erofs-utils; };

  # Platforms by system, the more usual spelling first; oci/platform.py has them by `uname -m`.
  platforms = {
    x86_64-linux = [ "linux/amd64" ];
    i686-linux = [ "linux/386" ];
    aarch64-linux = [
      "linux/arm64"
      "linux/arm64/v8"
    ];
    armv7l-linux = [ "linux/arm/v7" ];
    armv6l-linux = [ "linux/arm/v6" ];
    riscv64-linux = [ "linux/riscv64" ];
    powerpc64le-linux = [ "linux/ppc64le" ];
    s390x-linux = [ "linux/s390x" ];
    loongarch64-linux = [ "linux/loong64" ];
    mips64el-linux = [ "linux/mips64le" ];
  };
  candidates =
    if platform != null then
      [ platform ]
    else
      platforms.${system}
        or (throw "nixoci: no OCI platform is known for system ${system}; pass `platform`");

  # What `nixoci add` writes has these keys; a lock that was merged or edited by hand may lack some.
  damaged =
    what:
    throw (
      "nixoci: the lock is not one that `nixoci add` wrote: ${what}; restore it, or remove the image from it and run"
      + " `nixoci add` again"
    );
  expect =
    where: keys: value:
    let
      absent = builtins.filter (key: !(value ? ${key})) keys;
    in
    if !builtins.isAttrs value then
      damaged "${where} is no object"
    else if absent != [ ] then
      damaged "${where} has no ${builtins.head absent}"
    else
      value;
  expectBlob =
    where: keys: value:
    let
      blob = expect where ([ "digest" ] ++ keys) value;
    in
    if builtins.isString blob.digest then blob else damaged "${where}.digest is no text";
  expectPlatform =
    where: value:
    let
      pinned = expect where [
        "manifest"
        "config"
        "layers"
      ] value;
      expectLayer = number: expectBlob "${where}.layers[${toString number}]" [ "diffId" ];
    in
    if !builtins.isList pinned.layers then
      damaged "${where}.layers is no list"
    else
      pinned
      // (
        if pinned ? narHash then
          {
            narHash = expect "${where}.narHash" [
              "hash"
              "format"
            ] pinned.narHash;
          }
        else
          { }
      )
      // {
        manifest = expectBlob "${where}.manifest" [ ] pinned.manifest;
        config = expectBlob "${where}.config" [ "value" ] pinned.config;
        layers = builtins.genList (number: expectLayer number (builtins.elemAt pinned.layers number)) (
          builtins.length pinned.layers
        );
      };
  expectImage =
    name: value:
    let
      where = "images.${name}";
      entry = expect where [
        "reference"
        "digest"
        "platforms"
      ] value;
      platforms = expect "${where}.platforms" [ ] entry.platforms;
    in
    if !builtins.isString entry.reference || !reference.isRead entry.reference then
      damaged "${where}.reference is no reference in full"
    else if platforms == { } then
      damaged "${where}.platforms is empty"
    else
      entry
      // {
        platforms = builtins.mapAttrs (
          platform: expectPlatform "${where}.platforms.${platform}"
        ) platforms;
      };

  locked = builtins.mapAttrs expectImage lock.images or { };
  # What is expected of entries; all of it is evaluated at once, while errors still name the lock file.
  expected = builtins.mapAttrs (
    _: entry:
    builtins.mapAttrs (_: pinned: [
      (pinned.narHash or null)
      pinned.manifest.digest
      (digestsOf pinned)
    ]) entry.platforms
  ) locked;
  digestsOf = pinned: map (described: described.digest) ([ pinned.config ] ++ pinned.layers);

  # One derivation for each digest of the whole lock, however many images and platforms share it.
  # listToAttrs keeps the first of equal names, so registries come before local files.
  blobs = builtins.listToAttrs (builtins.concatMap blobsOf (sources.wrong ++ sources.right));
  sources = builtins.partition (name: reference.isLocal locked.${name}.reference) names;
  names = builtins.attrNames locked;
  blobsOf =
    name:
    let
      fetch = isManifest: digest: {
        name = digest;
        value = fetchBlob {
          inherit digest isManifest;
          image = name;
          repository = reference.repository locked.${name}.reference;
        };
      };
    in
    builtins.concatMap (
      pinned: [ (fetch true pinned.manifest.digest) ] ++ map (fetch false) (digestsOf pinned)
    ) (builtins.attrValues locked.${name}.platforms);

  narHashOf =
    name: pinned:
    if !pinned ? narHash then
      null
    else if pinned.narHash.format == formatVersion then
      pinned.narHash.hash
    else
      throw (
        "nixoci: image ${name}: its narHash is of extraction format ${toString pinned.narHash.format},"
        + " this nixoci writes format ${toString formatVersion}; run `nixoci prefetch ${name}`"
      );

  # The candidate that an image is locked for.
  platformOf =
    name: entry:
    let
      usable = builtins.filter (candidate: entry.platforms ? ${candidate}) candidates;
    in
    if usable != [ ] then
      builtins.head usable
    else
      throw (
        "nixoci: image ${name}: not locked for ${builtins.head candidates}, only for "
        + builtins.concatStringsSep ", " (builtins.attrNames entry.platforms)
        + "; run `nixoci add ${entry.reference} --name ${name} --platform ${builtins.head candidates}`"
      );

  imageOf =
    name: entry:
    let
      chosen = platformOf name entry;
      pinned = entry.platforms.${chosen};
    in
    makeImage {
      inherit name;
      inherit (entry) reference digest;
      repository = reference.repository entry.reference;
      storeName = reference.storeName name entry.reference;
      platform = chosen;
      manifest = pinned.manifest.digest;
      blobs = builtins.listToAttrs (
        map (digest: {
          name = digest;
          value = blobs.${digest};
        }) ([ pinned.manifest.digest ] ++ digestsOf pinned)
      );
      narHash = narHashOf name pinned;
    }
    // {
      config = pinned.config.value;
    };

  images = builtins.mapAttrs imageOf locked;

  layersOf =
    name:
    map (layer: {
      name = layer.diffId;
      value = {
        inherit (layer) diffId digest;
        blob = blobs.${layer.digest};
      };
    }) locked.${name}.platforms.${platformOf name locked.${name}}.layers;
  layers = builtins.attrValues (builtins.listToAttrs (builtins.concatMap layersOf names));
in
if !builtins.isAttrs lock || !(lock ? version) || !builtins.isAttrs (lock.images or { }) then
  throw "nixoci: the lock is not one that `nixoci add` wrote; `nixoci verify` says what is wrong"
else if lock.version != 1 then
  throw "nixoci: the lock has version ${toString lock.version}, this nixoci reads version 1"
else
  builtins.deepSeq expected {
    inherit images;
    imageStore = joinImages (builtins.attrValues images);
    layerCache = cacheLayers layers;
  }
