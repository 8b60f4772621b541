#!/usr/bin/python3
"""What scripts/bench_compare.py calls a change: bench_compare_test.py SCRIPT."""

import json
import pathlib
import subprocess
import sys
import tempfile

# name, unit, values before, values after, the last word of the row
ROWS = [
    ("steady", "us", [10, 20, 30], [10.1, 20.1, 30.1], "%"),
    ("faster", "us", [10, 20, 30], [8, 16, 24], "better"),
    ("slower", "us", [10, 20, 30], [12, 24, 36], "WORSE"),
    ("less", "GB/s", [5, 5, 5], [4, 4, 4], "WORSE"),
    ("fatter", "B/key", [23, 23, 23], [26, 26, 26], "WORSE"),
    ("thinner", "GiB", [1.2, 1.2, 1.2], [1.1, 1.1, 1.1], "better"),
    ("noisy", "GB/s", [5, 5, 5], [3, 5.5, 9], "%"),
]


def main():
    with tempfile.TemporaryDirectory() as folder:
        files = {"a": [], "b": []}
        for i in range(3):
            for side, column in (("a", 2), ("b", 3)):
                results = [{"name": r[0], "unit": r[1], "value": r[column][i]} for r in ROWS]
                path = pathlib.Path(folder) / f"{side}.{i}.json"
                path.write_text(json.dumps({"results": results}), encoding="utf-8")
                files[side].append(path)
        out = subprocess.run([sys.argv[1], "old", "new", *files["a"], "--", *files["b"]],
                             check=True, capture_output=True, text=True).stdout
    lines = {line.split()[0]: line for line in out.splitlines()}
    for name, _, _, _, last in ROWS:
        assert lines[name].rstrip().endswith(last), f"{name}: expected '{last}':\n{out}"
    assert out.splitlines()[-1].startswith("5 of 7 rows changed"), out


if __name__ == "__main__":
    main()
