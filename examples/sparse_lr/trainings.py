"""Trainings of the demonstration's model that are measured, for the scripts beside."""

import os
import re
import subprocess
import sys

CLUSTER = ("--servers", "2", "--workers", "2", "--log-level", "warn")


def start(shoal, program, settings=()):
    """Starts two servers, and two workers that run `program`. `settings`: SHOAL_ variables."""
    return subprocess.Popen([shoal, "run", *CLUSTER, "--", *program], env={**os.environ, **dict(settings)},
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(training):
    """The shares of its time, in percent, that the worker waited that waited most, and least; and the
    examples a second of both."""
    out, err = training.communicate()
    if training.returncode != 0:
        sys.exit(f"{os.path.basename(sys.argv[0])}: the training failed:\n{err}")
    shares = [float(share) for share in re.findall(r"waited at \w+ +([0-9.]+) %", out)]
    return shares, int(re.search(r"examples/s +([0-9,]+)", out).group(1).replace(",", ""))
