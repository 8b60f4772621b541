// Frames and part lists, as every message is made and read.

#include <benchmark/benchmark.h>

#include <array>
#include <cstring>
#include <vector>

#include "core/table/messages.h"
#include "core/wire/frame.h"

namespace shoal::perf {
namespace {

std::vector<std::byte> push_meta(std::size_t runs) {
  PushMeta prefix;
  prefix.run_count = static_cast<std::uint32_t>(runs);
  prefix.values = {1, 4096, runs * 4000};
  std::vector<std::byte> meta(sizeof prefix + runs * sizeof(PushRun));
  std::memcpy(meta.data(), &prefix, sizeof prefix);
  for (std::size_t i = 0; i < runs; ++i) {
    PushRun run;
    run.slot = SlotIndex(static_cast<std::uint32_t>(i));
    run.part_count = 1;
    run.first_q = Sequence(1);
    run.row_begin = i * 1000;
    run.row_count = 1000;
    run.offset = i * 4000;
    run.since = 1;
    std::memcpy(meta.data() + sizeof prefix + i * sizeof run, &run, sizeof run);
  }
  return meta;
}

FrameHeader push_header(std::span<const std::byte> meta) {
  FrameHeader header;
  header.kind = FrameKind::push;
  header.flags = frame_flag::kRendezvous;
  header.request = RequestId(1);
  header.table = TableId(1);
  seal(header, meta);
  return header;
}

void frame_seal(benchmark::State& state) {
  const auto meta = push_meta(static_cast<std::size_t>(state.range(0)));
  auto header = push_header(meta);
  for (auto _ : state) {
    seal(header, meta);
    benchmark::DoNotOptimize(header.checksum);
  }
}
BENCHMARK(frame_seal)->Arg(1)->Arg(64);

void frame_parse_and_verify(benchmark::State& state) {
  const auto meta = push_meta(static_cast<std::size_t>(state.range(0)));
  const auto header = push_header(meta);
  std::array<std::byte, kFrameHeaderBytes> bytes;
  std::memcpy(bytes.data(), &header, sizeof header);
  for (auto _ : state) {
    const auto read = parse_header(bytes, FrameLimits{});
    if (!read.ok() || !verify(*read, meta).ok()) return state.SkipWithError("a frame was refused");
  }
}
BENCHMARK(frame_parse_and_verify)->Arg(1)->Arg(64);

void part_list_parse(benchmark::State& state) {
  const auto meta = push_meta(static_cast<std::size_t>(state.range(0)));
  const FrameView frame{push_header(meta), meta, {}};
  for (auto _ : state) {
    const auto parts = parse_push(frame);
    if (!parts.ok()) return state.SkipWithError("a part list was refused");
    benchmark::DoNotOptimize(parts->runs.data());
  }
}
BENCHMARK(part_list_parse)->Arg(1)->Arg(64);

}  // namespace
}  // namespace shoal::perf
