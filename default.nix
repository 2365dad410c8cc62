# nixoci without flakes: the package and the default tools of generated files, by default from the nixpkgs of flake.lock.
{
  system ? builtins.currentSystem,
  nixpkgs ?
    let
      inherit ((builtins.fromJSON (builtins.readFile ./flake.lock)).nodes.nixpkgs) locked;
    in
    fetchTarball {
      url = "https://github.com/${locked.owner}/${locked.repo}/archive/${locked.rev}.tar.gz";
      sha256 = locked.narHash;
    },
}:
import ./nix/packages.nix (
  import nixpkgs {
    inherit system;
    config = { };
    overlays = [
      (final: _: {
        nixoci = final.callPackage ./nix/package.nix { };
      })
    ];
  }
)
