"""The report of `methods`: schema, assembly, and its four forms."""
