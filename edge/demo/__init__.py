"""A short clip of a synthetic street with synthetic flames, so that the demo needs nothing from outside."""
