# docs/options.md: every option of the modules, as Markdown.
{ lib }:
let
  inherit
    (lib.evalModules {
      modules = [
        ./nixos.nix
        # the other modules of NixOS are missing
        { _module.check = false; }
      ];
      # only values need pkgs, and options with a defaultText show no value
      specialArgs.pkgs = { };
    })
    options
    ;

  # The options of a user repeat the machine's.
  isShown =
    option:
    option.visible
    && !option.internal
    && (lib.hasPrefix "virtualisation." option.name || lib.hasPrefix "services.nixoci." option.name)
    && !lib.hasPrefix "virtualisation.nixoci.users.<name>." option.name;

  shown = lib.filter isShown (lib.optionAttrSetToDocList options);

  # Markdown stays as it is; anything else becomes code on one line.
  render =
    value: if value._type == "literalMD" then value.text else "`${lib.replaceStrings [ "\n" ] [ " " ] value.text}`";

  # only NixOS's manual knows {option}`x`
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

  The NixOS module and the home-manager module have the same options, except `users` and
  `services.nixoci.substituter`, which only NixOS has.
  `nix eval --raw .#lib.options` writes this page.

''
+ lib.concatMapStringsSep "\n\n" section shown
+ "\n"
