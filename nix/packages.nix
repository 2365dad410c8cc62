# nixoci and the default tools of generated files, for image builds and for units.
pkgs: {
  default = pkgs.nixoci;
  inherit (pkgs)
    nixoci
    composefs
    erofs-utils
    cacert
    podman
    crun
    runc
    util-linux
    systemd
    bash
    coreutils
    containerd
    ;
}
