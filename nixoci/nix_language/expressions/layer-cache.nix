# A cache of layers for containerd 2.4, which mounts them in place; its option `layer_content_caches` lists the cache.
# Each layer is built on its own, so that one that images share is built once, and the cache links these.
{
  system,
  nixoci,
  erofs-utils,
}:
let
  build =
    name: args: more:
    derivation (
      {
        inherit name system;
        builder = "${nixoci}/bin/nixoci";
        args = [
          "layer-cache"
          (builtins.placeholder "out")
        ]
        ++ args;
        preferLocalBuild = true;
      }
      // more
    );
  entry =
    layer:
    build "nixoci-layer-cache-entry"
      [
        "--layer"
        "${layer.diffId}=${layer.digest}"
        "--blob"
        "${layer.digest}=${layer.blob}"
        "--mkfs-erofs"
        "${erofs-utils}/bin/mkfs.erofs"
      ]
      {
        # Store paths inside of a layer are no references to this machine's store.
        __structuredAttrs = true;
        unsafeDiscardReferences.out = true;
      };
in
# Layers, each with `diffId`, `digest` and its `blob`, a store path.
layers: build "nixoci-layer-cache" (map (layer: "${entry layer}") layers) { }
