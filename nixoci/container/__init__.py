"""Containers: the document that declares them, and the decisions that turn it into something that can run.

A container is decided once, in two steps, because a deployment is checked before its images are built:

1. `parse` reads every option of the document (`model`) into a `ParsedContainer`, and `rules.check` refuses what cannot
   work. Neither needs an image.
2. `resolve` merges a `ParsedContainer` with the image's config and tree into a `ResolvedContainer`, and
   `rules.check_resolved` refuses what only the image shows to be impossible.

`deployment.resolve_deployment` does both. The code that writes bundles and units reads the result and decides nothing.
`backends` has the restrictions of each backend.
"""
