"""Nix text: generated files, and the escaper that every value in them goes through.

- default_nix: a self-contained `default.nix` for a lock and a deployment
- module: a module file for NixOS or home-manager
- escape, render: values as Nix text, and templates that accept nothing else
- expressions/, shipped: the expressions that generated files embed and `nix/` imports
- declared: checks of a deployment before its images are built
- attributes: JSON values that Nix wrote
"""
