"""The codec for the file of a Java runtime's modules (`lib/modules`), whose index follows from names and sizes.

When a class grows, the entries of all that come after it differ. `index` reduces an index to a short form and makes it
again.
"""
