"""Reading images from registries, layouts and archives: typed documents, and verified blobs."""
