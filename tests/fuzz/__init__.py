"""Inputs made by structure and then damaged by structure, for a run by hand: `python -m tests.fuzz`."""
