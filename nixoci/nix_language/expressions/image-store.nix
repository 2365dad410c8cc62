# A read-only image store for podman over image paths, and the same for rootless users as its `rootless`; in each is a
# storage.conf that makes podman use it.
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
  # Without the EROFS files, which only root can mount; its storage.conf names its mount-program.
  rootless = build "nixoci-image-store-rootless" [ "--rootless" ];
}
