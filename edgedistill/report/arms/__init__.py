"""The report of `arms`: schema, assembly, and its four forms."""
