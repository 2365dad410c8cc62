# What the modules of others set or read on a NixOS machine, beside what tests/host/modules.nix has.
{ lib, ... }:
let
  inherit (lib) mkOption types;
in
{
  options = {
    networking.proxy.envVars = mkOption {
      type = types.attrsOf types.str;
      default = { };
    };
    system.stateVersion = mkOption {
      type = types.str;
      default = "26.05";
    };
    systemd.services = mkOption {
      type = types.attrsOf types.anything;
      default = { };
    };
    systemd.user.services = mkOption {
      type = types.attrsOf types.anything;
      default = { };
    };
    virtualisation.docker.enable = mkOption {
      type = types.bool;
      default = false;
    };
    warnings = mkOption {
      type = types.listOf types.str;
      default = [ ];
    };
  };
}
