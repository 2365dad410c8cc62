"""OCI bundles: a runtime-spec config.json over a tree that is mounted so that nothing can write to the store."""
