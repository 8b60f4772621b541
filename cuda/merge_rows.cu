#include "cuda/launch.cuh"
#include "cuda/merge_entries.h"

namespace shoal::cuda {

namespace {

struct Executor : Launcher, Passes {};

}  // namespace

void merge_rows(const PushedList& list, Aggregate aggregate, const MergeScratch& scratch,
                Scratch sort, Scratch sum, std::byte* sums, void* stream) {
  MergeEntries<Executor>::merge(list, aggregate, scratch, sort, sum, sums, stream);
}

}  // namespace shoal::cuda
