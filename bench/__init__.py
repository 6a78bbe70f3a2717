"""Measurements: each module is a command that states what it measured and in which units."""
