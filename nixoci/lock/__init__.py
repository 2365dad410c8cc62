"""The lock: the registry facts that pin every image, in one reviewed file."""
