"""Publishing: deltas beside an ordinary binary cache, and the index by which machines find them."""
