# A NixOS machine with containers of one image: one for each backend, and one of a user.
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
        # store paths in the image must not become references
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
    users.users.alice.isNormalUser = true;
    # the test driver's writable store is an overlay, from which EROFS files cannot be mounted
    virtualisation.writableStore = false;
    virtualisation.nixoci = {
      enable = true;
      images.web = image;
      users.alice.containers.web-alice = {
        image = "web";
        ports = [ "8004:80" ];
      };
      containers = {
        web-podman = {
          image = "web";
          ports = [ "${toString ports.podman}:80" ];
        };
        web-rootfs = {
          image = "web";
          backend = "rootfs";
          ports = [ "${toString ports.rootfs}:80" ];
        };
        web-bundle = {
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
    measure = "nix-hash --type sha256 ${image}"
    before = machine.succeed(measure)
    for name, port in ${builtins.toJSON ports}.items():
        machine.wait_for_unit(f"web-{name}.service")
        machine.wait_until_succeeds(f"curl --fail --silent --output /dev/null http://127.0.0.1:{port}/busybox")
    machine.wait_for_unit("web-alice.service", "alice")
    machine.wait_until_succeeds("curl --fail --silent --output /dev/null http://127.0.0.1:8004/busybox")
    machine.succeed("systemctl restart web-podman web-rootfs web-bundle")
    machine.succeed("systemctl stop web-podman web-rootfs web-bundle")
    assert machine.succeed(measure) == before
  '';
}
