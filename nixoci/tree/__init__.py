"""The merged tree: read from layers' tar streams, written to disk once, described as a dump and a canonical tar."""
