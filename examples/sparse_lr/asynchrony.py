"""What it is worth that pulls and pushes run while a worker computes, and that key lists are kept.

asynchrony.py SHOAL SPARSE_LR TRAIN [--runs N]

Trains the demonstration's model in turn as it is, and with each pull and push waited for where it is made
and every key list sent whole (SHOAL_WORKER_LIST_BYTES=0KiB). Nobody looks at the model meanwhile.
"""

import argparse
import statistics

import trainings

OPTIONS = ("--l1", "0.25", "--evaluate-every", "20")
UNCACHED = {"SHOAL_WORKER_LIST_BYTES": "0KiB"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("shoal")
    parser.add_argument("sparse_lr")
    parser.add_argument("train")
    parser.add_argument("--runs", type=int, default=7, help="of which the medians are shown [7]")
    arguments = parser.parse_args()
    program = (arguments.sparse_lr, "--train", arguments.train, *OPTIONS)
    print(f"{'examples/s':>11} {'synchronous, uncached':>22} {'ratio':>6}")
    runs = []
    for _ in range(arguments.runs):
        _, as_it_is = trainings.finish(trainings.start(arguments.shoal, program))
        _, without = trainings.finish(trainings.start(arguments.shoal, (*program, "--synchronous"), UNCACHED))
        runs.append((as_it_is, without, as_it_is / without))
        print("{:>11,} {:>22,} {:>6.2f}".format(*runs[-1]), flush=True)
    print("{:>11,.0f} {:>22,.0f} {:>6.2f}  medians".format(*map(statistics.median, zip(*runs))))


if __name__ == "__main__":
    main()
