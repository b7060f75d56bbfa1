"""Speed and memory of a model on a device, before anything runs there.

    work.py        what is asked: bytes, weights, quantization, threads, build
    chips.py       what a chip offers: instructions, clock, copy rate
    formula.py     seconds as a sum of few terms, each a product of named factors
    parameters.py  the fitted factors, in parameters.json with their provenance
    predict.py     value and 80% interval, or the reason why there is none
    memory.py      whether it fits at all
    own_board.py   one measured pair from the user's own board
    rows.py        published measurements in a table

Nothing here imports numpy: the fit (tests/bench/fit_predictor.py) does, once, and leaves numbers.
"""
