"""How the student becomes a file for a runtime. One file per format; each offers `Config` and `export(...)`."""
