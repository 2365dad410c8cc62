# Options of `virtualisation.oci-containers` that a container here does not have, and what takes their place.
{ lib }:
let
  instead = {
    imageFile = "pin the file with `nixoci add docker-archive:FILE --name NAME`, or set images.NAME to an image path";
    imageStream = "write the stream to a file, and pin that with `nixoci add docker-archive:FILE --name NAME`";
    login = "nothing logs in here; `nixoci add` and `nixoci prefetch` use what `podman login` or `skopeo login` stored";
    log-driver = "use logDriver";
    preRunExtraOptions = "use settings.quadlet.GlobalArgs";
    podman = "use notify for sdnotify, and virtualisation.nixoci.users.NAME.containers for another user";
    pull = "nothing is pulled here, the image is a store path; leave it out";
    autoRemoveOnStop = "a container is removed when it stops; leave it out";
  };

  optionIn =
    definition:
    if lib.isAttrs definition.value then
      lib.findFirst (name: definition.value ? ${name}) null (lib.attrNames instead)
    else
      null;
  # The type of a container with errors for these options.
  wrap =
    type:
    type
    // {
      # the module system makes the type again
      substSubModules = modules: wrap (type.substSubModules modules);
      merge =
        location: definitions:
        let
          wrong = lib.findFirst (definition: optionIn definition != null) null definitions;
          name = optionIn wrong;
        in
        if wrong == null then
          type.merge location definitions
        else
          throw "${lib.showOption (location ++ [ name ])}, in ${toString wrong.file}: ${instead.${name}}";
    };
in
wrap
