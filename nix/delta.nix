# A delta between two closures as a file, for `nixoci receive`: { from, to } are lists of store paths, or one each.
{
  system,
  nixoci,
}:
{
  from,
  to,
  name ? "delta",
  # fast, default or best
  effort ? "default",
}:
let
  list = value: if builtins.isList value then value else [ value ];
in
derivation {
  inherit name system;
  builder = "${nixoci}/bin/nixoci";
  args = [
    "send"
    # Nix writes it to where the build starts.
    "--graphs"
    ".attrs.json"
    "--effort"
    effort
    "--output"
    (builtins.placeholder "out")
  ];
  __structuredAttrs = true;
  exportReferencesGraph = {
    from = list from;
    to = list to;
  };
  # A delta contains store paths, and needs none of them.
  unsafeDiscardReferences.out = true;
}
