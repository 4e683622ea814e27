"""Whole blocks of base bars. Nothing in it is for Python."""
