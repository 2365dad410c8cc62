"""Makers of test inputs: layers, layouts, trees."""
