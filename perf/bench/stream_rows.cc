// Large dense pushes and pulls: bytes a second against a stream that nobody looks at.

#include <fmt/core.h>

#include "perf/bench/sides.h"
#include "perf/table_load.h"

namespace shoal::perf {

namespace {

void add_stream(std::vector<Row>& rows, TableOp op, std::size_t mib) {
  const bool push = op == TableOp::push;
  const auto bytes = mib * kMiB;
  const auto inflight = default_inflight(bytes);
  const RawPattern raw{push ? bytes : kWordBytes, push ? kWordBytes : bytes, inflight, Wait::block};
  rows.push_back(
      {fmt::format("tcp/{}/{}MiB", push ? "push" : "pull", mib), "GB/s", Goal::ratio_at_least(0.9),
       [=](const Effort& effort) {
         return run_worker(
             {Wait::block}, effort, [=](Worker& worker, const Effort& e) -> Result<double> {
               Recorder recorder;
               SHOAL_ASSIGN(auto load, TableLoad::create(worker, "bench", {op, bytes, inflight}));
               SHOAL_ASSIGN(const auto measured, load.run(e.clock, e.limits(), recorder));
               return measured.bytes_rate / kGB;
             });
       },
       [=](const Effort& effort) -> Result<double> {
         SHOAL_ASSIGN(const auto measured, run_raw(raw, effort));
         return measured.bytes_rate / kGB;
       }});
}

}  // namespace

void add_stream_rows(std::vector<Row>& rows) {
  for (const auto op : {TableOp::push, TableOp::pull})
    for (const std::size_t mib : {1u, 4u, 64u}) add_stream(rows, op, mib);
}

}  // namespace shoal::perf
