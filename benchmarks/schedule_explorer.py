"""How long a redraw of the noise-schedule explorer takes: the promise is a median of at most 100 ms.

python benchmarks/schedule_explorer.py [--write]

Each family's parameters are moved at random, 50 times; a redraw samples 400 points, draws the figure and encodes the
PNG. Wall and processor time of one thread, with the machine's matrix-product rate beside, since machines differ.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from pathlib import Path

import torch
from ipywidgets import FloatLogSlider
from machine import gemm_rate

from diffedu.show.widgets import ScheduleExplorer

torch.set_num_threads(1)


def main() -> None:
    rng = random.Random(0)
    explorer = ScheduleExplorer()
    rows = {}
    for name, family in explorer.families.items():
        explorer.family.value = name
        wall, processor = [], []
        for _ in range(50):
            control = rng.choice(list(family.controls.values()))
            low, high, step = control.min, control.max, control.step
            start, used = time.perf_counter(), time.process_time()
            value = low + step * round(rng.uniform(0.2, 0.8) * (high - low) / step)
            control.value = 10**value if isinstance(control, FloatLogSlider) else value
            wall.append(1000 * (time.perf_counter() - start))
            processor.append(1000 * (time.process_time() - used))
        rows[name] = {
            "median wall ms": round(statistics.median(wall), 1),
            "95th percentile wall ms": round(statistics.quantiles(wall, n=20)[-1], 1),
            "median processor ms": round(statistics.median(processor), 1),
        }
    result = {"GEMM GFLOP/s, one thread": round(gemm_rate(), 1), "families": rows}
    text = json.dumps(result, indent=1)
    print(text)
    if "--write" in sys.argv[1:]:
        Path(__file__).with_suffix(".json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
