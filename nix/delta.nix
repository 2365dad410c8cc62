# A delta file between two closures, for `nixoci receive`. `from` and `to` are store paths or lists of them.
# It has no signatures and no derivers, because Nix tells a build neither: docs/deltas.md.
{
  system,
  nixoci,
}:
{
  from,
  to,
  name ? "delta",
  # default or fast
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
    # Nix writes it to the build's directory.
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
  # The store paths in a delta are no references.
  unsafeDiscardReferences.out = true;
}
