"""Codecs: the ways to encode a content as a payload, whole or by its difference from an old segment.

A codec is defined in a file here or in a package of its own, and listed in `registry.py`. The format fixes its number
and the bytes of its payload: a payload of another form is another codec with a number of its own.
"""
