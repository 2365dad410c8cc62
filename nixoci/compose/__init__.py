"""Compose files (compose-spec): read, merged, and mapped to the container model.

`yaml_file` reads YAML into `node`s that know their line. `load` joins the files of a project: `interpolate` replaces
variables, `merge` joins what two files say about one thing. `containers` maps services by the table in `options`,
`resources` maps volumes and networks, and `images` finds what to pin. `project` joins them. Nothing here changes the
lock or prints.
"""
