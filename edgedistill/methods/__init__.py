"""How the student is trained. One file per method; each offers `Config` and `train(...)`.

    train(out, rows, student, config, seed, tutors=()) -> counts

rows are (prompt, answer) pairs, tutors the models that the method learns from beside them (tutors.py), where its Config
says that it has any. It leaves model/ and curve.jsonl under `out`; the counts have rows, too_long and steps, and may
have a note for the terminal.
"""
