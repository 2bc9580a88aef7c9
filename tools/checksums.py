"""Write data/checksums.json: SHA-256 and size of every file that ships in data/.

python tools/checksums.py            write
python tools/checksums.py --check    change nothing; exit 1 and name what differs
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from diffedu._atomic import whole_file
from diffedu.data.files import sha256

DATA = Path(__file__).resolve().parent.parent / "data"
KINDS = {".npz", ".safetensors", ".json"}


def entries() -> dict[str, dict[str, str | int]]:
    files = sorted(p for p in DATA.rglob("*") if p.suffix in KINDS and p.name != "checksums.json")
    return {p.relative_to(DATA).as_posix(): {"sha256": sha256(p), "bytes": p.stat().st_size} for p in files}


def main() -> int:
    path, wanted = DATA / "checksums.json", entries()
    present = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    different = sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))
    if "--check" in sys.argv[1:]:
        for name in different:
            print(f"data/checksums.json: {name} differs (python tools/checksums.py)")
        return int(bool(different))
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
    print(f"{len(wanted)} files" + "".join(f"\n  changed: {name}" for name in different))
    return 0


if __name__ == "__main__":
    sys.exit(main())
