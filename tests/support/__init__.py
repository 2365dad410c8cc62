"""Makers of what tests read."""
