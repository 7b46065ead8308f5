"""What `make bench` found, beside what is promised: `promises.py [BENCH.JSON]`. Exits with 1 if a promise is broken.

A figure that is missing was not measured, because a peer could not be installed; it breaks nothing, and is told.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MOST = {
    "generator_cpu_ratio_k6": 0.40,
    "generator_cpu_ratio_locust": 0.50,
    "generator_cpu_ratio_floor": 1.60,
    "memory_per_connection_ratio_k6": 0.25,
    "p50_bias": 0.05,
    "p99_bias": 0.10,
    "node_cpu_ratio_socketio": 0.65,
}


def main() -> int:
    """Print the table."""
    path = Path(sys.argv[1]) if sys.argv[1:] else ROOT / "reports" / "bench.json"
    rows = list(promises(json.loads(path.read_text())))
    print("\n| figure | found | promised |\n| --- | ---: | ---: |")
    for name, found, most, _ in rows:
        print(f"| {name} | {'not measured' if found is None else f'{found:.3f}'} | at most {most:g} |")
    broken = [name for name, _, _, kept in rows if not kept]
    if broken:
        print(f"not kept: {', '.join(broken)}", file=sys.stderr)
    return 1 if broken else 0


def promises(whole: Mapping[str, Any]) -> Iterator[tuple[str, float | None, float, bool]]:
    """Each promise: its name, what was found (None: not measured), the most it may be, whether it is kept."""
    for name, most in MOST.items():
        found = whole.get(name)
        yield name, found, most, found is None or abs(found) <= most


if __name__ == "__main__":
    sys.exit(main())
