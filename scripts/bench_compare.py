#!/usr/bin/python3
"""Compares runs of the benchmark suite: bench_compare.py A B a.1.json ... -- b.1.json ...

The i-th runs of both sides were neighbours in time, so their quotient is free of slow drift. A row
has changed when the median quotient is off 1 by more than 3 % and by more than twice its own
uncertainty, which is taken from the spread of the quotients (median absolute deviation).
"""

import json
import math
import statistics
import sys

LEAST_CHANGE = 0.03
SMALLER_IS_BETTER = {"us", "GiB", "B/key"}


def load(paths):
    rows = {}
    for path in paths:
        with open(path, encoding="utf-8") as file:
            for result in json.load(file)["results"]:
                rows.setdefault(result["name"], []).append(result)
    return rows


def compare(a, b):
    """Median quotient b/a of paired values, and its uncertainty (one standard error)."""
    logs = [math.log(y / x) for x, y in zip(a, b)]
    middle = statistics.median(logs)
    spread = 1.4826 * statistics.median(abs(x - middle) for x in logs)
    return math.exp(middle), 1.2533 * spread / math.sqrt(len(logs))


def verdict(quotient, error, unit):
    if abs(quotient - 1) <= LEAST_CHANGE or abs(math.log(quotient)) <= 2 * error:
        return ""
    better = (quotient < 1) == (unit in SMALLER_IS_BETTER)
    return "better" if better else "WORSE"


def main():
    arguments = sys.argv[1:]
    if len(arguments) < 5 or "--" not in arguments:
        sys.exit(__doc__)
    name_a, name_b, *paths = arguments
    middle = paths.index("--")
    a, b = load(paths[:middle]), load(paths[middle + 1:])
    changed = 0
    print(f"{'row':<34} {name_a[:12]:>12} {name_b[:12]:>12} {'unit':<8} {'change':>8} {'noise':>7}")
    for name in a:
        pairs = list(zip(a[name], b.get(name, [])))
        pairs = [(x["value"], y["value"]) for x, y in pairs if x["value"] > 0 and y["value"] > 0]
        if not pairs:
            print(f"{name:<34} only in {name_a}")
            continue
        unit = a[name][0]["unit"]
        before, after = zip(*pairs)
        quotient, error = compare(before, after)
        word = verdict(quotient, error, unit)
        changed += word != ""
        print(f"{name:<34} {statistics.median(before):>12.4g} {statistics.median(after):>12.4g} "
              f"{unit:<8} {100 * (quotient - 1):>+7.1f}% {100 * 2 * error:>6.1f}%  {word}")
    for name in b:
        if name not in a:
            print(f"{name:<34} only in {name_b}")
    print(f"{changed} of {len(a)} rows changed beyond the noise")


if __name__ == "__main__":
    main()
