# A NixOS machine with three containers of one image, one for each backend.
{ pkgs, nixosModule }:
let
  stream = pkgs.dockerTools.streamLayeredImage {
    name = "web";
    tag = "1";
    contents = [ pkgs.pkgsStatic.busybox ];
    config.Cmd = [
      "/bin/httpd"
      "-f"
      "-h"
      "/bin"
    ];
  };
  image =
    pkgs.runCommand "web-1"
      {
        nativeBuildInputs = [ pkgs.nixoci ];
        # what the image holds stays in it
        __structuredAttrs = true;
        unsafeDiscardReferences.out = true;
      }
      ''
        ${stream} > image.tar
        nixoci extract docker-archive:image.tar "$out" --name web
      '';
  ports = {
    podman = 8001;
    rootfs = 8002;
    bundle = 8003;
  };
in
pkgs.testers.runNixOSTest {
  name = "nixoci";
  nodes.machine = {
    imports = [ nixosModule ];
    virtualisation.nixoci = {
      enable = true;
      images.web = image;
      containers = {
        podman = {
          image = "web";
          ports = [ "${toString ports.podman}:80" ];
        };
        rootfs = {
          image = "web";
          backend = "rootfs";
          ports = [ "${toString ports.rootfs}:80" ];
        };
        bundle = {
          image = "web";
          backend = "bundle";
          networks = [ "host" ];
          cmd = [
            "/bin/httpd"
            "-f"
            "-h"
            "/bin"
            "-p"
            (toString ports.bundle)
          ];
        };
      };
    };
  };
  testScript = ''
    hash = "nix-hash --type sha256 ${image}"
    before = machine.succeed(hash)
    for name, port in ${builtins.toJSON ports}.items():
        machine.wait_for_unit(f"{name}.service")
        machine.wait_until_succeeds(f"curl --fail --silent --output /dev/null http://127.0.0.1:{port}/busybox")
    machine.succeed("systemctl restart podman rootfs bundle")
    machine.succeed("systemctl stop podman rootfs bundle")
    assert machine.succeed(hash) == before
  '';
}
