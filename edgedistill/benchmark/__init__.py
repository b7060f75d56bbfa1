"""A bundle on its device: right first, then how fast, and under which conditions.

    run.py         the line: set up, wait for quiet, push, start, replay, warm up, measure, keep under load
    setup.py       which programs, threads, context and prompts; the runtime is built here if need be
    fit.py         whether the device can run it at all, and is the target's, before anything is pushed
    load.py        requests one after the other, and looks at the device under this load
    served.py      a model that answers requests, with the runtime's own times: what the line drives
    llama.py       llama-server on the device, and llama-bench beside it
    genai.py       an ONNX folder with onnxruntime-genai, on this machine
    limits.py      what the answers there are held to
    replay.py      the golden cases through llama-server
    watch.py       temperature, clocks, throttling, governor, others' load, memory, power
    journal.py     every raw measurement in a file of JSON lines, from which a cut run goes on
    parts.py       its rows, read again in the parts that a run fell into when it was cut
    doubts.py      what speaks against them: throttling, and others that disturbed
    figures.py     from raw measurements to the report's lines
    grading.py     budgets graded again, and the figures in the bundle
    calibration.py the pair that later predictions rest on

`edgedistill bench` (commands/bench.py) puts it all together, with the report.
"""
