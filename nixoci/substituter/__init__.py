"""The substituter: a binary cache on this machine that rebuilds NARs from its store and published deltas.

A request goes through `server` to `service`, which asks `upstream`. `demand` says whether a delta pays, `shelf` has
those in use, `memory` bounds the work at a time, `body` is the answer that Nix reads.
"""
