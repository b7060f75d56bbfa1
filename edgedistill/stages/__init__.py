"""The stages of the line, one function each. They write under `out`, read their arguments, and nothing else."""
