"""What shall run: the container model, its rules, and what it comes to once an image's defaults are merged in."""
