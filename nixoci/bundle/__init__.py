"""OCI bundles: a runtime-spec config.json, and a root that is mounted so that nothing can write to the store."""
