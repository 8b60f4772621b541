#!/usr/bin/python3
"""Checks the direction of includes: modules form a DAG, subfolders are private, headers stay light.

docs/architecture.md, section 2, is the law; the tables below are its wording for a program.
Prints file:line for every violation and exits with 1 if there is one.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Which parts of core each part may include.
CORE = {
    "base": [],
    "memory": ["base"],
    "wire": ["base", "memory"],
    "trace": ["base"],
    "table": ["base", "memory", "wire"],
    "cluster": ["base", "memory", "wire", "table"],
    "consistency": ["base", "memory", "wire", "table", "cluster"],
    "ops": ["base", "memory", "wire", "table"],
}
# Which modules each module may include besides itself.
MODULES = {
    "core": [],
    "transport": ["core"],
    "cuda": ["core"],
    "server": ["core", "transport", "cuda"],
    "worker": ["core", "transport"],
    "group": ["core", "cuda", "worker"],
}
# Private folders that another one is made of.
BUILT_ON = {"transport/paths/": "transport/tcp/"}
# Programs, tests, and the one library that joins server and worker may include everything.
ROOTS = ("server/main.cc", "server/cli/", "server/local_cluster", "worker/capi", "worker/python", "examples/",
         "tests/", "perf/")
# Libraries that no header may pull in, and in how many sources they may stand.
HEAVY = {"spdlog/": 1, "nlohmann/": None, "CLI/": 1, "toml++/": 1, "openssl/": None, "gtest/": None}

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')


def sources():
    for top in [*MODULES, "examples", "tests", "perf"]:
        for path in sorted((ROOT / top).rglob("*")):
            if path.suffix in (".h", ".cc", ".cu", ".cuh"):
                yield path.relative_to(ROOT).as_posix()


def is_root(path):
    return path.startswith(ROOTS)


def may_include(path, target):
    """None, or why `path` must not include `target`."""
    if is_root(path):
        return None
    if is_root(target) and target.split(".")[0] != path.split(".")[0]:
        return f"{target} belongs to a program; a module does not include it"
    module, parts = path.split("/")[0], target.split("/")
    if parts[0] != module and parts[0] not in MODULES[module]:
        return f"{module} may include only {', '.join([module, *MODULES[module]])}"
    if module == "core":
        own, other = path.split("/")[1], parts[1]
        if own not in CORE:
            return f"core/{own} has no place in the order of scripts/check_layers.py"
        if other != own and other not in CORE[own]:
            return f"core/{own} may include only {', '.join(CORE[own]) or 'itself'}"
        return None
    if len(parts) < 3 or parts[0] == "core":
        return None
    folder = "/".join(parts[:-1]) + "/"
    if path.startswith(folder):
        return None
    if BUILT_ON.get("/".join(path.split("/")[:-1]) + "/") == folder:
        return None
    factory = parts[0] == "transport" and parts[2] == parts[1] + ".h"
    if parts[0] != module:
        return None if factory else f"{folder} is private to {parts[0]}"
    if parts[0] == "transport":
        # Only the source that opens a transport by its name knows the backends' factories.
        return None if factory and path.endswith(".cc") else f"a backend is private to {folder}"
    if path.count("/") == 1 and path.endswith(".h"):
        return f"{path} is installed, {folder} is not"
    return None


def check_file(path, problems, heavy, graph):
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".h") and "#pragma once" not in text:
        problems.append(f"{path}:1: no #pragma once")
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        where, (kind, target) = f"{path}:{number}", match.groups()
        for library in HEAVY:
            if target.startswith(library):
                heavy.setdefault(library, set()).add(path)
                if path.endswith(".h") and not path.startswith("tests/"):
                    problems.append(f"{where}: <{target}> does not belong into a header")
        if kind == "<":
            continue
        if not (ROOT / target).is_file():
            problems.append(f"{where}: {target}: not found from the root of the repository")
            continue
        graph.setdefault(path, []).append(target)
        why = may_include(path, target)
        if why:
            problems.append(f"{where}: includes {target}: {why}")


def find_cycles(graph, problems):
    done = set()

    def visit(path, trail):
        if path in trail:
            problems.append("cycle: " + " -> ".join(trail[trail.index(path):] + [path]))
            return
        if path in done:
            return
        for target in graph.get(path, []):
            visit(target, trail + [path])
        done.add(path)

    for path in sorted(graph):
        visit(path, [])


def main():
    problems, heavy, graph, count = [], {}, {}, 0
    for path in sources():
        check_file(path, problems, heavy, graph)
        count += 1
    find_cycles(graph, problems)
    for library, limit in HEAVY.items():
        users = sorted(p for p in heavy.get(library, ()) if not p.startswith(("tests/", "examples/")))
        if limit is not None and len(users) > limit:
            problems.append(f"<{library}...> stands in {len(users)} sources, not {limit}: "
                            + ", ".join(users))
    for problem in problems:
        print(problem)
    print(f"{count} files, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
