"""data/checksums.json lists what lies in data/, as it lies there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_checksums_are_fresh():
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        [sys.executable, "tools/checksums.py", "--check"], cwd=root, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
