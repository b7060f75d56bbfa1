"""No code comes from a hub, whatever is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_no_library_can_fetch_kernels_as_it_is_imported(tmp_path: Path):
    # Stands in for the package `kernels`: says where it is called, and cannot prove what the real one would fetch.
    (tmp_path / "kernels.py").write_text(
        "def get_kernel(*given, **more):\n    raise SystemExit(f'would have fetched {given}')\n"
    )
    code = "import edgedistill.ml, trl, peft, bitsandbytes, importlib.util; print(importlib.util.find_spec('kernels'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(tmp_path), "PATH": ""}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "None\n", "")
