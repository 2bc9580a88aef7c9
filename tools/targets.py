"""Write data/targets.json: the numbers of the pictures that the exercises' solutions draw.

python tools/targets.py            write
python tools/targets.py --check    change nothing; exit 1 and name what differs

Run it when a solution or its picture in diffedu/exercises/chNN.py has changed, then tools/checksums.py.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a script, Python puts tools/ there instead
    sys.path.insert(0, str(ROOT))

from diffedu._atomic import whole_file  # noqa: E402
from diffedu.exercises import find, targets  # noqa: E402
from tools import editions  # noqa: E402
from tools.build_notebooks import load  # noqa: E402

FILE = ROOT / "data" / "targets.json"
DIGITS = 4  # more than the eye sees


def rounded(values: Tensor) -> Any:
    """Nested lists of numbers with a few significant digits."""
    if values.ndim:
        return [rounded(part) for part in values]
    return float(f"{values.item():.{DIGITS}g}")


def solved() -> dict[str, Tensor]:
    """What every solution draws, by id, in the chapters' order."""
    found = {}
    for source in editions.sources():
        solutions = editions.find_solutions(editions.SOLUTIONS / source.name)
        answers = editions.answers(load(source), {id: solution.code for id, solution in solutions.items()})
        for id, answer in answers.items():
            find(id)  # loads the chapter's exercises
            if id in targets():
                found[id] = targets()[id].values(answer)
    return found


def different(stored: dict[str, Any], now: dict[str, Tensor]) -> list[str]:
    """Exercises whose stored picture is not the solution's."""

    def same(id: str) -> bool:
        if id not in stored or id not in now:
            return False
        before = torch.tensor(stored[id], dtype=torch.float32, device="cpu")
        scale = float(now[id].abs().max())
        return before.shape == now[id].shape and torch.allclose(before, now[id], rtol=1e-3, atol=1e-3 * scale)

    return [id for id in [*now, *(set(stored) - set(now))] if not same(id)]


def main() -> int:
    now = solved()
    stored = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    names = different(stored, now)
    if "--check" in sys.argv[1:]:
        for id in names:
            print(f"data/targets.json: {id} differs (python tools/targets.py)")
        return int(bool(names))
    kept = {id: stored[id] if id not in names else rounded(values) for id, values in now.items()}
    with whole_file(FILE) as temporary:
        temporary.write_text(json.dumps(kept, separators=(",", ":")).replace('],"', '],\n"') + "\n", encoding="utf-8")
    print(f"{len(now)} pictures" + "".join(f"\n  changed: {id}" for id in names))
    return 0


if __name__ == "__main__":
    sys.exit(main())
