# A NixOS machine as far as modules/nixos.nix sets its options (or a home, for modules/home-manager.nix), with the
# programs of this host for packages.
{
  lib,
  checkout,
  # The modules of a test.
  modules,
  home ? false,
}:
let
  inherit (lib) mkOption types;

  program = {
    outPath = "/usr";
    type = "derivation";
  };
  pkgs = {
    stdenv.hostPlatform = { inherit (builtins) currentSystem; system = builtins.currentSystem; };
    nixoci = {
      outPath = "/opt/nixoci";
      type = "derivation";
    };
    cacert = {
      outPath = "/etc/ssl";
      type = "derivation";
    };
    podman = program // {
      src = "/usr/src/podman";
    };
    bash = program;
    composefs = program;
    erofs-utils = program;
    containerd = program;
    coreutils = program;
    crun = program;
    runc = program;
    systemd = program;
    util-linux = program;
    # As far as modules of others need it: a script in bin. `exit` keeps the shell to the end: it would become chmod,
    # which closes its output before it ends, and there Nix kills a builder.
    writeShellApplication =
      { name, text, ... }:
      derivation {
        inherit name;
        system = builtins.currentSystem;
        script = "#!/bin/sh\nset -eu\n${text}";
        builder = "/bin/sh";
        args = [
          "-c"
          "/usr/bin/mkdir -p $out/bin; printf %s \"$script\" > $out/bin/$name; /usr/bin/chmod +x $out/bin/$name; exit"
        ];
      }
      // {
        meta.mainProgram = name;
      };
  };

  common = {
    warnings = mkOption {
      type = types.listOf types.str;
      default = [ ];
    };
    assertions = mkOption {
      type = types.listOf types.unspecified;
      default = [ ];
    };
  };
  nixos = {
    environment.systemPackages = mkOption {
      type = types.listOf types.package;
      default = [ ];
    };
    systemd.packages = mkOption {
      type = types.listOf types.package;
      default = [ ];
    };
    systemd.package = mkOption {
      type = types.package;
      default = program // {
        version = "262";
      };
    };
    systemd.services = mkOption {
      type = types.attrsOf types.unspecified;
      default = { };
    };
    systemd.sockets = mkOption {
      type = types.attrsOf types.unspecified;
      default = { };
    };
    nix.settings.substituters = mkOption {
      type = types.listOf types.str;
    };
    nix.package = mkOption {
      type = types.package;
      default = program;
    };
    systemd.targets = mkOption {
      type = types.attrsOf (
        types.submodule {
          options.wants = mkOption {
            type = types.listOf types.str;
            default = [ ];
          };
        }
      );
      default = { };
    };
    environment.etc = mkOption {
      type = types.attrsOf (types.attrsOf types.str);
      default = { };
    };
    systemd.user = {
      services = mkOption {
        type = types.attrsOf types.unspecified;
        default = { };
      };
      targets = mkOption {
        type = types.attrsOf (types.attrsOf (types.listOf types.str));
        default = { };
      };
      tmpfiles.users = mkOption {
        type = types.attrsOf (types.attrsOf (types.listOf types.str));
        default = { };
      };
    };
    users.users = mkOption {
      type = types.attrsOf (types.attrsOf types.bool);
      default = { };
    };
    virtualisation.docker.enable = mkOption {
      type = types.bool;
      default = false;
    };
    virtualisation.docker.daemon.settings = mkOption {
      type = types.attrsOf types.anything;
      default = { };
    };
    virtualisation.containerd.enable = mkOption {
      type = types.bool;
      default = false;
    };
    virtualisation.oci-containers = {
      backend = mkOption {
        type = types.str;
        default = "podman";
      };
      containers = mkOption {
        type = types.attrsOf types.unspecified;
        default = { };
      };
    };
    virtualisation.podman.enable = mkOption {
      type = types.bool;
      default = false;
    };
    virtualisation.podman.package = mkOption {
      type = types.package;
      default = pkgs.podman;
    };
    virtualisation.containers.storage.settings = mkOption {
      type = with types; attrsOf (attrsOf (attrsOf (either (listOf str) (attrsOf str))));
      default = { };
    };
  };
  homeManager = {
    home.packages = mkOption {
      type = types.listOf types.package;
      default = [ ];
    };
    systemd.user.services = mkOption {
      type = types.attrsOf types.unspecified;
      default = { };
    };
    xdg.configFile = mkOption {
      type = types.attrsOf types.anything;
      default = { };
    };
  };
in
lib.evalModules {
  specialArgs = { inherit pkgs; };
  modules = [
    {
      options = common // (if home then homeManager else nixos);
      # with the priority that NixOS gives its own cache
      config = lib.optionalAttrs (!home) {
        nix.settings.substituters = lib.mkAfter [ "https://cache.nixos.org/" ];
      };
    }
    (checkout + (if home then "/modules/home-manager.nix" else "/modules/nixos.nix"))
  ]
  ++ modules;
}
