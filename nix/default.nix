# The images of a lock file: { images.NAME, imageStore }.
{
  # The lock file.
  lock,
  system ? builtins.currentSystem,
  platform ? null,
  nixoci,
  composefs,
  oras,
  cacert,
}:
import ./lock.nix {
  inherit
    system
    platform
    nixoci
    composefs
    oras
    cacert
    ;
  reference = import ./reference.nix;
  blob = import ./blob.nix;
  image = import ./image.nix;
  imageStore = import ./image-store.nix;
  lock = builtins.fromJSON (builtins.readFile lock);
  # The code that extracts says of which format it is.
  formatVersion = builtins.fromJSON (
    builtins.head (
      builtins.match ".*\nFORMAT_VERSION = ([0-9]+)\n.*" (builtins.readFile ../nixoci/image_path.py)
    )
  );
}
