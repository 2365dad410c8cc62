# docs/options.md: every option of the modules, as Markdown.
{ lib }:
let
  inherit
    (lib.evalModules {
      modules = [
        ./nixos.nix
        # all else that NixOS has is not there
        { _module.check = false; }
      ];
      # only values need these, and no value is shown that has a defaultText
      specialArgs.pkgs = { };
    })
    options
    ;

  # A user's options are the machine's once more.
  isShown =
    option:
    option.visible
    && !option.internal
    && lib.hasPrefix "virtualisation." option.name
    && !lib.hasPrefix "virtualisation.nixoci.users.<name>." option.name;

  shown = lib.filter isShown (lib.optionAttrSetToDocList options);

  # On one line as code; a text that is Markdown already stays as it is.
  render =
    value: if value._type == "literalMD" then value.text else "`${lib.replaceStrings [ "\n" ] [ " " ] value.text}`";

  # {option}`x` is for NixOS's own manual
  plain = lib.replaceStrings [ "{option}`" ] [ "`" ];

  section =
    option:
    lib.concatStringsSep "\n" (
      [
        "## `${option.name}`"
        ""
        (plain (lib.removeSuffix "\n" (option.description or "")))
        ""
        "- type: ${option.type}"
      ]
      ++ lib.optional (option ? default) "- default: ${plain (render option.default)}"
      ++ lib.optional (option ? example) "- example: ${render option.example}"
      ++ lib.optional option.readOnly "- read only"
    );
in
''
  # Options

  The NixOS module and the home-manager module have the same options, but for `users`, which only NixOS has.
  Written from them by `nix eval --raw .#lib.options`.

''
+ lib.concatMapStringsSep "\n\n" section shown
+ "\n"
