"""Chips that others measured and that have no target here: facts for the fit, of which parameters.json keeps a copy.

Peak rates and clocks are the makers' data sheets and https://github.com/ggml-org/llama.cpp/discussions/4167 (Apple);
copy rates are https://github.com/ThomasKaiser/sbc-bench/blob/master/Results.md and
https://github.com/geerlingguy/sbc-reviews. They only set priors: measured rows move the factors that matter.
"""

from __future__ import annotations

from edgedistill.predictor.chips import Chip

ALIASES = {
    "rpi500": "rpi5", "rpi500plus": "rpi5", "rpi-cm5": "rpi5", "rpi400": "rpi4", "rk3588s": "rk3588",
    "ms-r1": "orion-o6", "fw13-cp8180": "orion-o6", "phone-oneplus12r": "phone-sd8gen2", "macbook-neo": "phone-a18pro",
    "phone-pixel6a": "pixel6a",
}  # fmt: skip
"""Other products with the same chip."""

_TABLE = """
rk3566               board dotprod 4  1.8  1   2.7  8.5
rk3562               board neon    4  2.0  .5  -    8.5
rv1126b              board neon    4  1.6  .5  -    8.5
orion-o6             board i8mm    8  2.5  2   15   96
dragon-q6a           board dotprod 4  2.5  2   8.4  51
dragon-q8b           board dotprod 8  2.8  2   -    51
odroid-hc1           board armv7   4  2.0  1   -    14.9
laptop-i7-1185g7     x86   avx512  4  3.0  4   -    51.2
laptop-surface-book3 x86   avx512  4  3.0  4   -    51.2
laptop-i3-1315u      x86   avx2    2  4.5  4   -    51.2
laptop-xps13         x86   avx2    4  4.0  4   -    51.2
laptop-ryzen-ai5-340 x86   avx512  6  4.5  4   -    89.6
desktop-7950x        x86   avx512  16 5.0  4   -    89.6
desktop-i5-6500      x86   avx2    4  3.3  4   -    20
optiplex780          x86   sse     4  2.67 1   -    8.5
phone-sd7gen3        phone i8mm    4  2.5  2   -    25.6
phone-sd8gen1        phone i8mm    4  2.7  2   -    51.2
phone-exynos2400     phone i8mm    4  2.9  2   -    68.2
phone-kirin990       phone dotprod 4  2.6  2   -    34.1
phone-kirin810       phone dotprod 2  2.27 2   -    17.1
phone-mtk9300        phone i8mm    8  2.9  2   -    76.8
phone-mtk9400        phone i8mm    8  3.0  2   -    85.3
phone-a15            phone dotprod 2  3.2  4   -    34.1
phone-a16            phone i8mm    2  3.46 4   -    51.2
phone-a17pro         phone i8mm    2  3.78 4   -    51.2
phone-a18            phone i8mm    2  4.0  4   -    60
phone-a18pro         phone i8mm    2  4.04 4   -    60
mac-m1-pro           mac   dotprod 8  3.2  4   27.1 200
mac-m1-max           mac   dotprod 8  3.2  4   -    400
mac-m2-pro           mac   i8mm    8  3.5  4   -    200
mac-m2-max           mac   i8mm    8  3.6  4   -    400
mac-m2-ultra         mac   i8mm    16 3.5  4   -    800
mac-m3               mac   i8mm    4  4.05 4   -    100
mac-m3-pro           mac   i8mm    6  4.05 4   -    150
mac-m3-max           mac   i8mm    12 4.05 4   -    400
mac-m4-pro           mac   i8mm    10 4.5  4   -    273
mac-m4-max           mac   i8mm    12 4.5  4   -    546
"""
"""Name, kind, instructions, big cores, GHz, 128-bit instructions per cycle, memcpy GB/s, peak GB/s."""


def others() -> dict[str, Chip]:
    """By name."""
    found = {}
    for line in _TABLE.strip().splitlines():
        name, kind, isa, cores, ghz, lanes, copy, peak = line.split()
        rates = {"copy_gb_s": None if copy == "-" else float(copy), "peak_gb_s": float(peak)}
        found[name] = Chip(name, kind, isa, int(cores), float(ghz), float(lanes), **rates)
    return found
