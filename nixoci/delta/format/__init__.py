"""The bytes of a delta: the writer and the reader of each part side by side (docs/delta-format.md)."""
