"""Deltas between versions of an image, as artifacts in the image's repository (docs/registry-deltas.md).

`artifact` has the layout of an artifact, `contents` what a delta is made of, `push` and `pull` the two directions;
`find` lists what a repository has, and the bases that this machine has.
"""
