"""Reading images: what a registry, a layout or an archive holds, as typed and verified documents."""
