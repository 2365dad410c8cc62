# The images of a lock file: { images.NAME, imageStore, layerCache }.
{
  # The lock file.
  lock,
  system ? builtins.currentSystem,
  platform ? null,
  nixoci,
  composefs,
  erofs-utils,
  cacert,
}:
let
  # The expressions that `nixoci generate` embeds.
  expression = name: import (../nixoci/nix_language/expressions + "/${name}.nix");
in
builtins.addErrorContext "while reading the lock ${toString lock}" (
  expression "lock" {
    inherit
      system
      platform
      nixoci
      composefs
      erofs-utils
      cacert
      ;
    reference = expression "reference";
    blob = expression "blob";
    image = expression "image";
    imageStore = expression "image-store";
    layerCache = expression "layer-cache";
    formatVersion = expression "format-version";
    lock = builtins.fromJSON (builtins.readFile lock);
  }
)
