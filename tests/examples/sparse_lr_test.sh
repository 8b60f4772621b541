#!/bin/sh
# The reference mode against LIBLINEAR on the verses of the Bible: its objective, by the evaluator
# that judges both models, is at most 0.2 % above.
#   sparse_lr_test.sh SHOAL SPARSE_LR BIBLE_PY WORKERS STALENESS
set -eu
for program in bible liblinear-train; do
  command -v "$program" >/dev/null || { echo "$program is not installed"; exit 77; }
done
shoal=$1 sparse_lr=$2 bible_py=$3 workers=$4 staleness=$5
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
bible -f gen1:1-rev22:21 >"$dir/verses" </dev/null
/usr/bin/python3 "$bible_py" "$dir/train" "$dir/test" <"$dir/verses"
liblinear-train -q -s 6 -e 1e-6 -c 1 "$dir/train" "$dir/theirs"
"$shoal" run --servers 2 --workers "$workers" --log-level warn -- "$sparse_lr" --batch 0 --l1 1 \
  --staleness "$staleness" --evaluate-every 60 --train "$dir/train" --model "$dir/ours"
objective() {
  "$sparse_lr" --l1 1 --train "$dir/train" --evaluate "$1" | awk '$1 == "objective" { print $2 }'
}
ours=$(objective "$dir/ours")
theirs=$(objective "$dir/theirs")
echo "objective $ours, LIBLINEAR's $theirs"
awk -v ours="$ours" -v theirs="$theirs" \
  'BEGIN { exit !(ours > 0 && theirs > 0 && ours <= theirs * 1.002) }'
