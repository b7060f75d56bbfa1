"""How a draft is scored for a student. One file per signal; each offers `Config` and `score(...)`."""
