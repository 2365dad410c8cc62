"""Deltas: one closure of store paths, made where another closure is.

Glossary, the same in docs/delta-format.md:

- *base*: a store path that the receiver has, and that content is taken from or new paths refer to.
- *predecessor*: the old version of a store path, among the bases; of a file, the most similar old file.
- *counterpart*: the old node that a recipe describes a node by; below a predecessor, the one at the same path.
- *recipe*: the description of a new store path by its differences from bases.
- *segment*: a part of a file, of 64 MiB but for the last.
- *content*: a segment that no base has, and that travels.
- *codec*: a way to write a content by its difference from a segment of its predecessor, or without one.
- *payload*: the bytes that a codec makes of a content.
- *incompressible*: of a content: compressed, encrypted or random. It travels last, hardly compressed.
- *packing*: the compression of a part of the body, over many payloads.

Sending: `closure`, `scan`, `pairing`, `compare`, `plan`, `send`. Receiving: `receive`, `rebuild`, `assemble`. Both:
`format` and `codecs`. `copy` asks another machine first; `reupnix` is the format of another project.
"""
