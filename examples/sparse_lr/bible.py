#!/usr/bin/python3
"""Turns the verses of the King James Bible into two libsvm files: which testament is a verse from?

    bible -f gen1:1-rev22:21 | bible.py TRAIN TEST        (Debian package bible-kjv)

A line of input is `Ge1:1 In the beginning ...`. A line of output is `LABEL INDEX:VALUE ...`: label +1
for the New Testament and -1 for the Old, one feature per word and per pair of neighbouring words,
hashed into 2^20 indices from 1 on, value log(1 + count), each verse scaled to length 1. About a fifth
of the verses is held out for the test file; which ones follows from a hash of the verse's name, so
that every run, and every version of the text, holds out the same verses.

Standard library only.
"""

import argparse
import itertools
import math
import re
import sys
import zlib

FEATURE_BITS = 20
HELD_OUT_OF = 5
FIRST_NEW_TESTAMENT_BOOK = "Mat"
VERSE = re.compile(r"(\d?[A-Za-z]+)(\d+:\d+) (.*)")
WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")


def index_of(term):
    """The feature index of a word or a pair: CRC-32 is the same on every machine, hash() is not."""
    return (zlib.crc32(term.encode("ascii")) & ((1 << FEATURE_BITS) - 1)) + 1


def features_of(text, index_cache):
    """{index: value} of one verse, of Euclidean length 1. Empty for a verse without a word."""
    words = WORD.findall(text.lower())
    counts = {}
    for term in itertools.chain(words, map(" ".join, zip(words, words[1:]))):
        index = index_cache.get(term)
        if index is None:
            index = index_cache[term] = index_of(term)
        counts[index] = counts.get(index, 0) + 1
    values = {index: math.log1p(count) for index, count in counts.items()}
    length = math.sqrt(sum(value * value for value in values.values()))
    return {index: value / length for index, value in values.items()}


def is_held_out(name):
    return zlib.crc32(name.encode("ascii")) % HELD_OUT_OF == 0


def order_of(name):
    """A shuffled place: in the order of the book a worker's share would be one testament."""
    return zlib.crc32(b"order " + name.encode("ascii"))


def verses(lines):
    """(name, label, text) of each verse; stops the program at a line that is not one."""
    label = "-1"
    for number, line in enumerate(lines, 1):
        match = VERSE.match(line)
        if match is None:
            sys.exit(f"stdin:{number}: expected a verse like 'Ge1:1 In the beginning', "
                     f"found {line[:60]!r}; feed the output of `bible -f gen1:1-rev22:21`")
        if match[1] == FIRST_NEW_TESTAMENT_BOOK:
            label = "+1"
        yield match[1] + match[2], label, match[3]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("train", help="libsvm file to write: four fifths of the verses")
    parser.add_argument("test", help="libsvm file to write: the held-out fifth")
    arguments = parser.parse_args()

    counts = {"-1": 0, "+1": 0}
    index_cache = {}
    train_lines, test_lines = [], []
    for name, label, text in verses(sys.stdin):
        pairs = sorted(features_of(text, index_cache).items())
        line = " ".join([label] + [f"{index}:{value:.5g}" for index, value in pairs])
        (test_lines if is_held_out(name) else train_lines).append((order_of(name), line))
        counts[label] += 1
    try:
        for path, lines in (arguments.train, train_lines), (arguments.test, test_lines):
            with open(path, "w", encoding="ascii") as file:
                for _, line in sorted(lines):
                    print(line, file=file)
    except OSError as error:
        sys.exit(f"cannot write the libsvm files: {error}")
    if 0 in counts.values():
        sys.exit(f"expected verses of both testaments, found {counts['-1']} of the Old and "
                 f"{counts['+1']} of the New; feed the output of `bible -f gen1:1-rev22:21`")


if __name__ == "__main__":
    main()
