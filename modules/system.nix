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
}
