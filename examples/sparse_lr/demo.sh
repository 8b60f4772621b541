#!/bin/sh
# Which testament is a verse of the Bible from? Trains on four fifths of the verses in a cluster of
# two servers and two workers on this machine, and looks at the rest.
#   demo.sh BUILD_DIR [sparse_lr's options...]
# Keeps the verses' features, and leaves model, CSV and picture, in demo-output/.
set -eu
if [ $# -lt 1 ]; then
  echo "usage: demo.sh BUILD_DIR [options for sparse_lr]" >&2
  exit 2
fi
build=$1
shift
here=$(dirname "$0")
shoal=$build/server/cli/shoal
sparse_lr=$build/examples/sparse_lr/sparse_lr
for program in "$shoal" "$sparse_lr"; do
  if [ ! -x "$program" ]; then
    echo "demo.sh: there is no $program; build the targets shoal and sparse_lr" >&2
    exit 1
  fi
done

out=demo-output
mkdir -p "$out"
if [ ! -f "$out/train.svm" ] || [ ! -f "$out/test.svm" ] ||
  [ "$here/bible.py" -nt "$out/train.svm" ]; then
  # A pipe hides the first program's failure, so the verses get a file.
  bible -f gen1:1-rev22:21 >"$out/verses.partial" </dev/null
  python3=/usr/bin/python3
  [ -x "$python3" ] || python3=python3
  "$python3" "$here/bible.py" "$out/train.partial" "$out/test.partial" <"$out/verses.partial"
  mv "$out/test.partial" "$out/test.svm"
  mv "$out/train.partial" "$out/train.svm"
  rm -f "$out/verses.partial"
fi
echo "$(wc -l <"$out/train.svm") verses to learn from, $(wc -l <"$out/test.svm") held out"

exec "$shoal" run --servers 2 --workers 2 --log-level warn -- "$sparse_lr" \
  --train "$out/train.svm" --test "$out/test.svm" --l1 0.25 \
  --model "$out/bible.model" --csv "$out/curve.csv" --curve "$out/curve.png" "$@"
