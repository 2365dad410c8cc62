# The command `nixoci`, with the programs that it runs on its PATH.
{
  lib,
  stdenv,
  python3Packages,
  skopeo,
  composefs,
  erofs-utils,
  gzip,
}:
let
  inherit (lib.importTOML ../pyproject.toml) project;

  dependencies = [
    (python3Packages.callPackage ./hdiffpatch.nix { })
    python3Packages.cattrs
    python3Packages.click
    python3Packages.fastcrc
    python3Packages.isal
    python3Packages.jinja2
    python3Packages.numpy
    python3Packages.packaging
    python3Packages.pyyaml
    python3Packages.rich
    python3Packages.urllib3
  ]
  # from 3.14 on, zstd is in the standard library
  ++ lib.optional (python3Packages.pythonOlder "3.14") python3Packages.backports-zstd;
in
python3Packages.buildPythonApplication {
  pname = project.name;
  inherit (project) version;
  pyproject = true;

  # Only the files of the wheel, so that a changed test rebuilds no image.
  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../LICENSE
      ../README.md
      ../nixoci
      ../pyproject.toml
    ];
  };

  build-system = [ python3Packages.hatchling ];

  inherit dependencies;

  makeWrapperArgs = [
    "--suffix"
    "PATH"
    ":"
    (lib.makeBinPath [
      skopeo
      composefs
      erofs-utils
      gzip
    ])
  ];

  # The command writes them itself, so it has to run on the machine that builds.
  postInstall = lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    $out/bin/nixoci man $out/share/man/man1
    mkdir -p $out/share/bash-completion/completions $out/share/zsh/site-functions $out/share/fish/vendor_completions.d
    $out/bin/nixoci completion bash > $out/share/bash-completion/completions/nixoci
    $out/bin/nixoci completion zsh > $out/share/zsh/site-functions/_nixoci
    $out/bin/nixoci completion fish > $out/share/fish/vendor_completions.d/nixoci.fish
  '';

  pythonImportsCheck = [ "nixoci" ];

  # for environments that run the tests
  passthru = { inherit dependencies; };

  meta = {
    inherit (project) description;
    license = lib.licenses.mit;
    mainProgram = "nixoci";
    platforms = lib.platforms.linux;
  };
}
