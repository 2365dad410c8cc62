# Options from the JSON schema of the document: names, types, defaults and descriptions come from the Python classes.
{ lib }:
let
  inherit (lib) types;

  schema = lib.importJSON ./schema.json;
  definitions = schema."$defs";

  # A value that is passed through; definitions of several modules merge key by key.
  json =
    types.nullOr (
      types.oneOf [
        types.bool
        types.int
        types.float
        types.str
        (types.listOf json)
        (types.attrsOf json)
      ]
    )
    // {
      description = "JSON value";
    };

  scalars = {
    inherit (types) bool int str;
  };

  typeOf =
    schema:
    if schema ? "$ref" then
      submodule (lib.removePrefix "#/$defs/" schema."$ref") [ ]
    else if schema ? enum then
      types.enum schema.enum
    else if schema ? anyOf then
      let
        isNull = choice: choice.type or null == "null";
        values = types.oneOf (map typeOf (lib.filter (choice: !isNull choice) schema.anyOf));
      in
      if lib.any isNull schema.anyOf then types.nullOr values else values
    else if !schema ? type then
      json
    else
      {
        string = scalars.str;
        integer = scalars.int;
        boolean = scalars.bool;
        array = types.listOf (typeOf schema.items);
        object = types.attrsOf (typeOf schema.additionalProperties);
      }
      .${schema.type};

  optionOf =
    _: schema:
    lib.mkOption (
      {
        type = typeOf schema;
        inherit (schema) description;
      }
      // lib.optionalAttrs (schema ? default) { inherit (schema) default; }
    );

  # The type of a class, with further modules for its options.
  submodule =
    name: modules:
    types.submodule ([ { options = lib.mapAttrs optionOf definitions.${name}.properties; } ] ++ modules);
in
{
  inherit submodule;
  # Values of options that a backend refuses, by backend; nixoci/container/backends/model.py describes them.
  refusals = schema.x-refusals;
  choices = name: property: definitions.${name}.properties.${property}.enum;
  # The words that a list can have.
  elements = name: property: definitions.${name}.properties.${property}.items.enum;
}
