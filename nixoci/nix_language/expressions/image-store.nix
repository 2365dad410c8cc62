# A read-only image store for podman over image paths; its attribute `rootless` is one for rootless users.
# The storage.conf in each makes podman use it, or its drop-in storage.conf.d/50-nixoci.conf, which podman 5.8 reads.
# Each image has a store of its own, its entry, and the store of all links these: a change of one image costs that image.
{
  system,
  nixoci,
  composefs,
}:
let
  build =
    name: args:
    derivation {
      inherit name system;
      builder = "${nixoci}/bin/nixoci";
      args = [
        "image-store"
        (builtins.placeholder "out")
      ]
      ++ args;
      preferLocalBuild = true;
    };
  kinds = {
    root = {
      suffix = "";
      flags = [
        "--mkcomposefs"
        "${composefs}/bin/mkcomposefs"
      ];
    };
    # Without the EROFS files, which only root can mount; the storage.conf names the store's mount-program.
    rootless = {
      suffix = "-rootless";
      flags = [ "--rootless" ];
    };
  };
  entry = kind: image: build "nixoci-image-store-entry${kind.suffix}" (kind.flags ++ [ "${image}" ]);
  join =
    kind: images:
    build "nixoci-image-store${kind.suffix}" (
      kind.flags
      ++ [
        "--storage-conf"
        "${builtins.placeholder "out"}/storage.conf"
        "--drop-in"
        "${builtins.placeholder "out"}/storage.conf.d/50-nixoci.conf"
      ]
      ++ map (image: "${entry kind image}") images
    );
in
{
  # The store of one image, an argument of `nixoci image-store` besides others.
  entry = entry kinds.root;
  __functor = _: images: join kinds.root images // { rootless = join kinds.rootless images; };
}
