{
  description = "A NixOS machine whose container images come from nixoci.lock.json";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    # write the URL of nixoci here, or add it with `nix flake registry add nixoci URL`
    nixoci.url = "nixoci";
    nixoci.inputs.nixpkgs.follows = "nixpkgs";
  };

  outputs =
    { nixpkgs, nixoci, ... }:
    {
      nixosConfigurations.machine = nixpkgs.lib.nixosSystem {
        modules = [
          nixoci.nixosModules.default
          # the rest of the machine: hardware, users, boot loader
          { nixpkgs.hostPlatform = "x86_64-linux"; }
          {
            virtualisation.nixoci = {
              enable = true;
              lock = ./nixoci.lock.json;
              # after `nixoci add docker.io/library/nginx:1.27 --name nginx`:
              # containers.web = {
              #   image = "nginx";
              #   ports = [ "80:80" ];
              # };
            };
          }
        ];
      };
    };
}
