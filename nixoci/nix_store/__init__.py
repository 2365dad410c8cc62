"""Nix's own formats and programs: store paths, hashes, NARs, the serve protocol, registration."""
