"""The codec for class data archives of the JVM (`classes.jsa`): dumps of memory, which are full of addresses.

A class that grows moves all that follows it, so that nearly each pointer differs. `pointers` moves those of the old
archive to where they point in the new one. `symbols` and `bitmap` make parts again that follow from the rest of an
archive; `reduced` is an archive without them.
"""
