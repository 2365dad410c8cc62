{
  description = "OCI container images as Nix store paths that unmodified podman, crun and systemd run in place";

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
          ]
        );
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
              oras
              cacert
              ;
          }
          // args
        );

      overlays.default = final: _: {
        nixoci = final.callPackage ./nix/package.nix { };
      };

      # nixoci, and the tools that builds of images run
      packages = forEachSystem (pkgs: {
        default = pkgs.nixoci;
        inherit (pkgs)
          nixoci
          composefs
          oras
          cacert
          ;
      });

      checks = forEachSystem (pkgs: {
        inherit (pkgs) nixoci;
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
              nixfmt --check flake.nix nix/*.nix
              touch $out
            '';
      });

      formatter = forEachSystem (pkgs: pkgs.nixfmt-tree);

      devShells = forEachSystem (pkgs: {
        default = pkgs.mkShell {
          packages = [
            (testPython pkgs)
            pkgs.composefs
            pkgs.nixfmt
            pkgs.oras
            pkgs.ruff
            pkgs.skopeo
          ];
        };
      });
    };
}
