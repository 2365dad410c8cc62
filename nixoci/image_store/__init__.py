"""podman's read-only additional image store over image paths: nothing is copied, and all podman commands work.

The layout is containers/storage's (its `images.go`, `layers.go` and `drivers/overlay`); podman is unmodified.
"""
