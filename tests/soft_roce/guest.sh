# Sourced by tests that run something in a guest: sets $guest, the program that starts one, and changes
# to $work, a folder that goes with the test. The arguments are programs. Ends the test with 77 where
# one of them is not built, or there can be no guest, unless RDMA_TESTS_REQUIRED is 1.
skip() {  # skip REASON
  echo "$1"
  [ "${RDMA_TESTS_REQUIRED:-0}" != 1 ] || exit 1
  exit 77
}

for program; do
  [ -x "$program" ] || skip "$program is not built"
done
guest=$(cd "$(dirname "$0")" && pwd)/../../scripts/soft_roce_vm.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
"$guest" --prepare >reason 2>&1 || skip "$(cat reason)"

examples() {  # two classes that features 1 and 2 tell apart, but for one example in ten
  awk 'BEGIN { srand(7); for (i = 0; i < 600; ++i) {
    first = rand() < 0.5; label = (first != (rand() < 0.1)) ? 1 : -1
    printf "%d %d:1 %d:0.5\n", label, first ? 1 : 2, 3 + int(rand() * 5000) } }'
}
