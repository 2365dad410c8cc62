"""Nix: the names it gives to what nixoci makes, generated expressions and their one escaper, fetching in a build."""
