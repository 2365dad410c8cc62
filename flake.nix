{
  description = "OCI container images as Nix store paths that podman, Docker, containerd and systemd run in place";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      forEachSystem =
        make:
        lib.genAttrs [
          "x86_64-linux"
          "aarch64-linux"
        ] (system: make (nixpkgs.legacyPackages.${system}.extend self.overlays.default));
      testPython =
        pkgs:
        pkgs.python3.withPackages (
          python:
          pkgs.nixoci.passthru.dependencies
          ++ [
            python.hypothesis
            python.mypy
            python.pytest
            python.pytest-benchmark
            python.trustme
          ]
        );
      # A module with this flake's nixoci, for machines without its overlay.
      withPackage =
        module:
        {
          lib,
          pkgs,
          ...
        }:
        {
          # several modules may import it
          key = "${toString module}#package";
          imports = [ module ];
          virtualisation.nixoci.package =
            lib.mkDefault
              self.packages.${pkgs.stdenv.hostPlatform.system}.nixoci;
        };
    in
    {
      # { images.NAME, imageStore } of a lock file: fromLock { lock = ./nixoci.lock.json; system = "x86_64-linux"; }
      lib.fromLock =
        args:
        let
          system = args.system or builtins.currentSystem;
        in
        import ./nix (
          {
            inherit (self.packages.${system})
              nixoci
              composefs
              erofs-utils
              cacert
              ;
          }
          // args
        );

      # A delta as a build, docs/deltas.md: delta { from = old; to = new; system = "x86_64-linux"; }
      lib.delta =
        {
          system ? builtins.currentSystem,
          nixoci ? self.packages.${system}.nixoci,
          ...
        }@args:
        import ./nix/delta.nix { inherit system nixoci; } (
          builtins.removeAttrs args [
            "system"
            "nixoci"
          ]
        );

      # docs/options.md
      lib.options = import ./modules/reference.nix { inherit lib; };

      nixosModules = {
        default = self.nixosModules.nixoci;
        nixoci = withPackage ./modules/nixos.nix;
      };

      homeModules.default = withPackage ./modules/home-manager.nix;
      homeManagerModules = self.homeModules;

      templates.default = {
        path = ./nix/template;
        description = "A NixOS machine whose container images come from a lock file";
      };

      overlays.default = final: _: {
        nixoci = final.callPackage ./nix/package.nix { };
      };

      packages = forEachSystem (import ./nix/packages.nix);

      # nix run .#delta -- FROM TO
      apps = forEachSystem (pkgs: {
        delta = {
          type = "app";
          program = "${import ./nix/delta-app.nix {
            inherit (pkgs) writeShellScript nixoci;
            inherit (pkgs.stdenv.hostPlatform) system;
          }}";
          meta.description = "Build the delta between two store paths";
        };
      });

      checks = forEachSystem (pkgs: {
        inherit (pkgs) nixoci;
        nixos = import ./modules/test.nix {
          inherit pkgs;
          nixosModule = self.nixosModules.default;
        };
        tests =
          pkgs.runCommand "nixoci-tests"
            {
              nativeBuildInputs = [
                (testPython pkgs)
                pkgs.nixfmt
                pkgs.ruff
              ];
            }
            ''
              cp --recursive ${self} source
              chmod --recursive u+w source
              cd source
              ruff check
              ruff format --check
              mypy
              pytest -m "not host"
              nixfmt --check default.nix flake.nix nix/*.nix nix/template/*.nix modules/*.nix \
                nixoci/nix_language/expressions/*.nix tests/host/*.nix
              touch $out
            '';
      });

      formatter = forEachSystem (pkgs: pkgs.nixfmt-tree);

      devShells = forEachSystem (pkgs: {
        default = pkgs.mkShell {
          packages = [
            (testPython pkgs)
            pkgs.composefs
            pkgs.erofs-utils
            pkgs.nixfmt
            pkgs.ruff
            pkgs.skopeo
          ];
        };
      });
    };
}
