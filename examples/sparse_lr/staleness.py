"""What staleness is worth where workers are slowed: the part of its time that a worker waits.

staleness.py SHOAL SPARSE_LR TRAIN [--csv FILE] [--png FILE]

Trains with two workers at staleness 0, 1, 2, 4, 8 and 16. At any moment one of the two is slowed, as by
another job on its machine: it is stopped (SIGSTOP) half of the time, and after some tens of milliseconds
it is the other's turn. Every staleness gets the same moments. The figure is that of Li et al., Scaling
Distributed Machine Learning with the Parameter Server (OSDI'14), where waiting falls with the allowed
delay.
"""

import argparse
import os
import random
import signal
import statistics
import subprocess
import tempfile
import time

import trainings

STALENESS = (0, 1, 2, 4, 8, 16)
SLOWED_FOR = (0.02, 0.08)  # seconds, uniform
STOPPED_FOR = 0.005  # seconds of each 2 x STOPPED_FOR while slowed
SEED = 1


def pid_of(path):
    """Of a worker, once it has begun; None if it has not."""
    try:
        with open(path) as file:
            return int(file.read())
    except (FileNotFoundError, ValueError):
        return None


def send(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def slow(training, pids):
    """Slows one worker after the other until the training is over."""
    chance = random.Random(SEED)
    slowed = 0
    while training.poll() is None:
        until = time.monotonic() + chance.uniform(*SLOWED_FOR)
        while time.monotonic() < until and training.poll() is None:
            send(pids[slowed], signal.SIGSTOP)
            time.sleep(STOPPED_FOR)
            send(pids[slowed], signal.SIGCONT)
            time.sleep(STOPPED_FOR)
        slowed = 1 - slowed


def train(arguments, staleness, directory):
    """The share of its time that a worker waited, the mean of both, and the examples a second."""
    wrapper = 'echo $$ >"$0/${SHOAL_NAME#worker }" && exec "$@"'
    # Without memory they read the text in every pass, and have something to do beside waiting.
    program = ("sh", "-c", wrapper, directory, arguments.sparse_lr, "--train", arguments.train,
               "--l1", "0.25", "--epochs", "10", "--evaluate-every", "10", "--memory-mib", "0",
               "--staleness", str(staleness))
    with trainings.start(arguments.shoal, program) as training:
        pids = [None, None]
        while None in pids and training.poll() is None:
            pids = [pid_of(os.path.join(directory, str(i))) for i in range(2)]
            time.sleep(0.005)
        if None not in pids:
            slow(training, pids)
        shares, rate = trainings.finish(training)
    return statistics.mean(shares), rate


def draw(path, rows):
    data = "\n".join(f"{row[0]} {row[1]}" for row in rows)
    script = f"""set terminal pngcairo size 640,400
set output "{path}"
set title "One of two workers is slowed at any moment"
set xlabel "staleness"
set ylabel "a worker waits, % of its time"
set yrange [0:*]
set grid ytics
set style fill solid 0.8
set boxwidth 0.7
plot "-" using 2:xtic(1) with boxes notitle linecolor rgb "#2f6f9f"
{data}
e
"""
    subprocess.run(["gnuplot"], input=script, text=True, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("shoal")
    parser.add_argument("sparse_lr")
    parser.add_argument("train")
    parser.add_argument("--csv", help="write the table here")
    parser.add_argument("--png", help="draw it here (gnuplot)")
    parser.add_argument("--runs", type=int, default=5, help="of which the medians are shown [5]")
    arguments = parser.parse_args()
    print(f"{'staleness':>9} {'a worker waits':>15} {'examples/s':>11}")
    rows = []
    for staleness in STALENESS:
        runs = []
        for _ in range(arguments.runs):
            with tempfile.TemporaryDirectory() as directory:
                runs.append(train(arguments, staleness, directory))
        waited, rate = (statistics.median(column) for column in zip(*runs))
        rows.append((staleness, waited, rate))
        print(f"{staleness:>9} {waited:>13.1f} % {rate:>11.0f}", flush=True)
    if arguments.csv:
        with open(arguments.csv, "w") as file:
            file.write("staleness,waited_percent,examples_per_second\n")
            file.writelines(f"{s},{w:.1f},{r:.0f}\n" for s, w, r in rows)
    if arguments.png:
        draw(arguments.png, rows)


if __name__ == "__main__":
    main()
