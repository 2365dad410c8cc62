# A read-only image store for podman over image paths; its attribute `rootless` is one for rootless users.
# The storage.conf in each makes podman use it, or its drop-in storage.conf.d/50-nixoci.conf, which podman 5.8 reads.
{
  system,
  nixoci,
  composefs,
}:
images:
let
  build =
    name: flags:
    derivation {
      inherit name system;
      builder = "${nixoci}/bin/nixoci";
      args = [
        "image-store"
        (builtins.placeholder "out")
        "--storage-conf"
        "${builtins.placeholder "out"}/storage.conf"
        "--drop-in"
        "${builtins.placeholder "out"}/storage.conf.d/50-nixoci.conf"
      ]
      ++ map (image: "${image}") images
      ++ flags;
      preferLocalBuild = true;
    };
in
build "nixoci-image-store" [
  "--mkcomposefs"
  "${composefs}/bin/mkcomposefs"
]
// {
  # Without the EROFS files, which only root can mount; the storage.conf names the store's mount-program.
  rootless = build "nixoci-image-store-rootless" [ "--rootless" ];
}
