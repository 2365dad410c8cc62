"""Layer caches for containerd: each layer as an EROFS file that its EROFS snapshotter mounts in place."""
