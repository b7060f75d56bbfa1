"""What counts as a right answer. One file per kind of task; each offers `is_right(...)` and `details(...)`."""
