# What the modules for NixOS ask of the rest of the system.
{ config, lib }:
{
  # Whether there is a service of this name that starts something; others only add to a unit that a package has.
  isService = services: unit: services ? ${unit} && services.${unit}.serviceConfig ? ExecStart;

  podmanAssertion = deployment: {
    assertion = config.virtualisation.podman.enable || deployment.ofPodman == [ ];
    message =
      "virtualisation.podman.enable: false, but podman runs ${lib.concatStringsSep ", " deployment.ofPodman};"
      + " leave it at its default, which is true, or use the backend bundle";
  };

  # An older one ignores options that keep a container apart from the host.
  systemdAssertion = deployment: {
    assertion = deployment.ofSystemd == [ ] || lib.versionAtLeast config.systemd.package.version "258";
    message =
      "systemd.package: ${config.systemd.package.version}, but ${lib.concatStringsSep ", " deployment.ofSystemd}"
      + " need 258 or newer; use the backend bundle";
  };

  # Podman has one container of a name: the start of either removes the other.
  podmanNameAssertions =
    user: deployment:
    let
      others = config.virtualisation.oci-containers;
      isTaken =
        name:
        others.backend == "podman"
        && others.containers ? ${name}
        && (others.containers.${name}.podman.user or "root") == user;
    in
    map (each: {
      assertion = !isTaken each.name;
      message =
        "${each.option}: podman has one container of a name, and"
        + " virtualisation.oci-containers.containers.${each.name} has this one; rename one of them, or leave one out";
    }) deployment.inPodman;
}
