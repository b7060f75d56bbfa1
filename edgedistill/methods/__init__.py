"""How the student is trained. One file per method; each offers `Config` and `train(...)`."""
