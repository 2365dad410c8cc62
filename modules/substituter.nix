# services.nixoci.substituter for NixOS: updates as deltas, docs/substituter.md.
{ config, lib, ... }:
let
  cfg = config.services.nixoci.substituter;
in
{
  options.services.nixoci.substituter = {
    enable = lib.mkEnableOption "a binary cache on this machine that rebuilds updates from the store and small deltas";
    package = lib.mkOption {
      type = lib.types.package;
      default = config.virtualisation.nixoci.package;
      defaultText = lib.literalExpression "config.virtualisation.nixoci.package";
      description = "The package of `nixoci`.";
    };
    upstream = lib.mkOption {
      type = lib.types.strMatching "https?://[!-~]+";
      example = "https://cache.example";
      description = ''
        The binary cache that has the deltas, published there by `nixoci publish`. It stays a substituter itself, for
        what the one on this machine cannot make. Its key belongs into `nix.settings.trusted-public-keys`.
      '';
    };
    netrcFile = lib.mkOption {
      type = lib.types.nullOr (lib.types.strMatching "/[^:]+");
      default = null;
      example = "/etc/nix/netrc";
      description = ''
        The file with the login to the cache, as Nix itself has it by `nix.settings.netrc-file`. It is read when the
        service starts, as root.
      '';
    };
    listenAddress = lib.mkOption {
      type = lib.types.strMatching "(127\\.[0-9.]+|\\[::1]):[0-9]+";
      default = "127.0.0.1:8642";
      description = "The address on this machine at which Nix asks it.";
    };
  };

  config = lib.mkIf cfg.enable {
    nix.settings.substituters = lib.mkBefore [
      "http://${cfg.listenAddress}"
      cfg.upstream
    ];

    systemd.sockets.nixoci-substituter = {
      description = "Updates as deltas, for Nix";
      wantedBy = [ "sockets.target" ];
      listenStreams = [ cfg.listenAddress ];
      socketConfig.FlushPending = true; # if the service does not start, Nix asks the next cache at once
    };

    systemd.services.nixoci-substituter = {
      description = "Updates as deltas, for Nix";
      wantedBy = [ "multi-user.target" ]; # otherwise the first update after a boot waits for its start
      after = [ "network.target" ];
      unitConfig.StartLimitIntervalSec = 0; # otherwise the socket would close for good after five starts in ten seconds
      path = [ config.nix.package ];
      environment = {
        TMPDIR = "%C/nixoci-substituter";
        HOME = "%C/nixoci-substituter";
      };
      serviceConfig = {
        ExecStart = lib.concatStringsSep " " (
          [
            (lib.escapeShellArgs [
              "${cfg.package}/bin/nixoci"
              "substituter"
              "--upstream"
              # systemd expands both in the arguments of ExecStart
              (lib.replaceStrings [ "%" "$" ] [ "%%" "$$" ] cfg.upstream)
            ])
          ]
          ++ lib.optional (cfg.netrcFile != null) "--netrc-file \${CREDENTIALS_DIRECTORY}/netrc"
        );
        CacheDirectory = "nixoci-substituter";
        DynamicUser = true;
        KillMode = "mixed";
        SuccessExitStatus = 143;
        MemoryMax = "800M";
        CapabilityBoundingSet = "";
        LockPersonality = true;
        MemoryDenyWriteExecute = true;
        PrivateDevices = true;
        ProtectControlGroups = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        ProtectProc = "invisible";
        RestrictAddressFamilies = [
          "AF_UNIX"
          "AF_INET"
          "AF_INET6"
        ];
        RestrictNamespaces = true;
        RestrictRealtime = true;
        SystemCallArchitectures = "native";
        SystemCallFilter = "@system-service";
      }
      // lib.optionalAttrs (cfg.netrcFile != null) {
        LoadCredential = [ "netrc:${lib.replaceStrings [ "%" ] [ "%%" ] cfg.netrcFile}" ];
      };
    };
  };
}
