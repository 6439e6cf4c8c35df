"""Print the kinds of bad input by door and refusal, as the table of docs/reliability.md.

Run as ``PYTHONPATH=tests:. python tests/bad_input/count.py``.
"""

from __future__ import annotations

from collections import Counter

from bad_input import arguments, chunks, data, features, files, jobs
from bad_input.kinds import DOORS

if __name__ == "__main__":
    kinds = [*data.KINDS, *arguments.KINDS, *jobs.KINDS, *files.KINDS, *features.KINDS, *chunks.KINDS]
    counts = Counter(
        (kind.door, f"exit code {kind.refusal}" if isinstance(kind.refusal, int) else kind.refusal.__name__)
        for kind in kinds
    )
    print("| door | refusals | kinds |\n|---|---|---:|")
    for door in DOORS:
        found = [f"{name} {count}" for (at, name), count in sorted(counts.items()) if at == door]
        print(f"| `{door}` | {', '.join(found)} | {sum(n for (at, _), n in counts.items() if at == door)} |")
    print(f"\n{len(kinds)} refusals of {len({kind.name for kind in kinds})} kinds at {len(DOORS)} doors.")
