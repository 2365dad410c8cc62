"""The tree: layers' tar streams merged into one model, written once, described in a dump and as a canonical tar."""
