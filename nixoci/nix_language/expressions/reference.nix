# What follows from the reference that an image was pinned by.
rec {
  # Whether it was pinned from files of one machine.
  isLocal = reference: builtins.match "(oci|oci-archive|docker-archive):.*" reference != null;

  # host/path without tag and digest, or null for a local source.
  repository =
    reference:
    if isLocal reference then
      null
    else
      builtins.head (builtins.match "([^@]*/[^@:/]*)(:[^@]*)?(@.*)?" reference);

  # The tag, or null where there is none: HOST:PORT/PATH:TAG@DIGEST, oci:DIR:TAG.
  tag =
    reference:
    let
      pattern = "(.*/|[a-z-]+:)[^:/@]*:([a-zA-Z0-9_][a-zA-Z0-9_.-]*)(@.*)?";
      found = builtins.match pattern reference;
    in
    if found == null then null else builtins.elemAt found 1;

  # NAME-VERSION, with `-` for what a store path's name cannot hold.
  # Nix takes for a version what starts with a digit, so `v1.2` becomes `1.2` and `latest` becomes `0-latest`.
  storeName =
    name: reference:
    let
      clean = builtins.concatStringsSep "-" (
        builtins.filter builtins.isString (builtins.split "[^a-zA-Z0-9+._?=-]+" name)
      );
      safe = if builtins.match "[a-zA-Z0-9_].*" clean == null then "image${clean}" else clean;
      found = tag reference;
      version =
        if builtins.match "[0-9].*" found != null then
          found
        else if builtins.match "v[0-9].*" found != null then
          builtins.substring 1 (-1) found
        else
          "0-${found}";
    in
    # 211 characters is the longest name that a store path, or its .drv, may have
    builtins.substring 0 70 safe + (if found == null then "" else "-${version}");
}
