#!/usr/bin/python3
"""Checks the direction of includes: docs/architecture.md, "Modules". Exits 1 with every breach."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# What a module may include besides itself.
ALLOWED = {
    "core/base": [],
    "core/memory": ["core/base"],
    "core/wire": ["core/base", "core/memory"],
    "core/table": ["core/base", "core/memory", "core/wire"],
    "core/metrics": ["core/base", "core/memory", "core/wire"],
    "core/ops": ["core/base", "core/memory", "core/wire", "core/table"],
    "core/cluster": ["core/base", "core/memory", "core/wire", "core/table"],
    "core/consistency": ["core/base", "core/memory", "core/wire", "core/table", "core/cluster"],
    "core/filter": ["core/base", "core/memory", "core/wire", "core/table"],
    "transport": ["core"],
    "server": ["core", "transport"],
    "worker": ["core", "transport"],
    "cuda": ["core"],
}
# Programs and the one library that joins server and worker.
ROOTS = ("examples/", "tests/", "perf/", "server/main.cc", "server/cli/", "server/local_cluster")
# A backend's folder is private to it, but for its public header; so is a module's subfolder.
PUBLIC_IN_SUBFOLDER = {"transport/tcp/tcp.h", "transport/sim/sim.h", "transport/sim/driver.h"}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)


def module_of(path):
    for module in sorted(ALLOWED, key=len, reverse=True):
        if path.startswith(module + "/"):
            return module
    return None


def breach(path, included):
    if path.startswith(ROOTS):
        return None
    module, other = module_of(path), module_of(included)
    if module is None or other is None:
        return None
    same = module == other
    if not same and not any(other == a or other.startswith(a + "/") for a in ALLOWED[module]):
        return f"{module} may not include {other}"
    folder = str(pathlib.PurePosixPath(included).parent)
    if not folder.startswith("core/") and "/" in folder and included not in PUBLIC_IN_SUBFOLDER:
        if not path.startswith(folder + "/") and not (same and folder.count("/") == 1 and
                                                      not folder.startswith("transport/")):
            return f"{folder} is private"
    return None


def main():
    breaches, files = [], 0
    for top in ("core", "transport", "server", "worker", "cuda"):
        for source in sorted((ROOT / top).rglob("*")):
            if source.suffix not in (".h", ".cc", ".cu", ".cuh"):
                continue
            files += 1
            path = source.relative_to(ROOT).as_posix()
            for included in INCLUDE.findall(source.read_text()):
                if not (ROOT / included).exists():
                    breaches.append(f"{path}: \"{included}\" is not a path from the root")
                elif why := breach(path, included):
                    breaches.append(f"{path} includes {included}: {why}")
    print("\n".join(breaches) if breaches else f"{files} files: every include points downwards")
    return 1 if breaches else 0


sys.exit(main())
