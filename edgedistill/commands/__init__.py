"""The work behind each command. Every function returns the exit code."""
