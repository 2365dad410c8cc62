# Parts and names of the reference that an image was pinned by.
rec {
  # Whether it names files of one machine.
  isLocal = reference: builtins.match "(oci|oci-archive|docker-archive):.*" reference != null;

  # Whether the functions below can read it.
  isRead = reference: isLocal reference || builtins.match path reference != null;
  path = "([^@]*/[^@:/]*)(:[^@]*)?(@.*)?";

  # host/path without tag and digest, or null for a local source.
  repository =
    reference:
    if isLocal reference then
      null
    else
      builtins.head (builtins.match path reference);

  # The tag of HOST:PORT/PATH:TAG@DIGEST or oci:DIR:TAG, or null.
  tag =
    reference:
    let
      pattern = "(.*/|[a-z-]+:)[^:/@]*:([a-zA-Z0-9_][a-zA-Z0-9_.-]*)(@.*)?";
      found = builtins.match pattern reference;
    in
    if found == null then null else builtins.elemAt found 1;

  # NAME-VERSION, with `-` for characters that a store path's name cannot have.
  # A version starts with a digit in Nix, so `v1.2` becomes `1.2` and `latest` becomes `0-latest`.
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
    # a tag has up to 128 characters, the name of a store path and its .drv up to 211
    builtins.substring 0 70 safe + (if found == null then "" else "-${version}");
}
