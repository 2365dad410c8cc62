"""The investigation: advantages and limits of images in the Nix store, measured in one run and written as one page."""
