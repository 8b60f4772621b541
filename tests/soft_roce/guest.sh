# Sourced by tests that run something in a guest: sets $guest, the program that starts one, and changes
# to $work, a folder that goes with the test. Ends the test with 77 where there can be no guest, unless
# RDMA_TESTS_REQUIRED is 1.
guest=$(cd "$(dirname "$0")" && pwd)/../../scripts/soft_roce_vm.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

if ! "$guest" --prepare >reason 2>&1; then
  cat reason
  [ "${RDMA_TESTS_REQUIRED:-0}" != 1 ] || exit 1
  exit 77
fi

examples() {  # two classes that features 1 and 2 tell apart, but for one example in ten
  awk 'BEGIN { srand(7); for (i = 0; i < 600; ++i) {
    first = rand() < 0.5; label = (first != (rand() < 0.1)) ? 1 : -1
    printf "%d %d:1 %d:0.5\n", label, first ? 1 : 2, 3 + int(rand() * 5000) } }'
}
