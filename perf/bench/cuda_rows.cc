// Kernels on a GPU, where memory is the limit: beside the copy of device memory by CUDA's own
// engine, the fastest way in which that GPU's memory is read and written.

#include <cuda_runtime_api.h>
#include <fmt/core.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "core/base/random.h"
#include "core/memory/device_memory.h"
#include "core/ops/codec.h"
#include "core/ops/rules.h"
#include "core/ops/update_rule.h"
#include "cuda/codecs.h"
#include "cuda/cuda_device.h"
#include "cuda/error.h"
#include "cuda/pinned_memory.h"
#include "cuda/row_kernels.h"
#include "cuda/rule_kernels.h"
#include "cuda/sparse_index.h"
#include "perf/bench/row.h"
#include "perf/bench/sides.h"

namespace shoal::perf {

namespace {

constexpr std::uint32_t kWarmUp = 3;
constexpr std::uint32_t kPasses = 25;

Status check(const char* call, cudaError_t code) {
  if (code != cudaSuccess) return cuda_error(call, code);
  return {};
}

/// An event of CUDA that keeps its time.
class Mark {
 public:
  static Result<Mark> create() {
    Mark mark;
    SHOAL_TRY(check("cudaEventCreate", cudaEventCreate(&mark.event_)));
    return mark;
  }
  Mark(Mark&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
  ~Mark() {
    if (event_ != nullptr) (void)cudaEventDestroy(event_);
  }
  cudaEvent_t get() const { return event_; }

 private:
  Mark() = default;
  cudaEvent_t event_ = nullptr;
};

/// GB/s of the median pass, which reads and writes `bytes`.
template <class Pass>
Result<double> measure(CudaDevice& device, std::size_t bytes, const Effort& effort,
                       const Pass& pass) {
  const auto stream = static_cast<cudaStream_t>(device.stream());
  SHOAL_ASSIGN(const auto begin, Mark::create());
  SHOAL_ASSIGN(const auto end, Mark::create());
  std::vector<float> times;
  for (std::uint32_t i = 0; i < kWarmUp + (effort.smoke ? 3 : kPasses); ++i) {
    SHOAL_TRY(check("cudaEventRecord", cudaEventRecord(begin.get(), stream)));
    pass();
    SHOAL_TRY(check("a kernel's launch", cudaGetLastError()));
    SHOAL_TRY(check("cudaEventRecord", cudaEventRecord(end.get(), stream)));
    SHOAL_TRY(check("the pass", cudaEventSynchronize(end.get())));
    float ms = 0;
    SHOAL_TRY(check("cudaEventElapsedTime", cudaEventElapsedTime(&ms, begin.get(), end.get())));
    if (i >= kWarmUp) times.push_back(ms);
  }
  std::ranges::nth_element(times, times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2));
  return static_cast<double>(bytes) / (times[times.size() / 2] * 1e6);
}

Result<DeviceMemory> filled(CudaDevice& device, std::size_t bytes) {
  SHOAL_ASSIGN(auto memory, DeviceMemory::create(device, bytes));
  // 0x3c3c is 1.06 as f16, 0.0115 as bf16 and f32: no value is denormal.
  SHOAL_ASSIGN(const auto event, device.fill(memory.view(), std::byte{0x3c}));
  (void)event;  // the stream keeps the order
  return memory;
}

/// What a GPU's memory gives to its own copies, read plus written.
Result<double> copy_ceiling(const Effort& effort) {
  SHOAL_ASSIGN(const auto device, CudaDevice::create(0));
  const auto bytes = (effort.smoke ? 16 : 1024) * kMiB;
  SHOAL_ASSIGN(const auto from, filled(*device, bytes));
  SHOAL_ASSIGN(const auto to, filled(*device, bytes));
  return measure(*device, 2 * bytes, effort, [&] { (void)device->copy(to.view(), from.view()); });
}

struct FusedRule {
  std::string name;
  UpdateSpec spec;
  DType dtype;
  std::size_t weight_mib;
  std::size_t pushes;
};

/// A table's segments in GPU memory, and pushes for all of them.
Result<double> update_rate(const FusedRule& fused, const Effort& effort) {
  SHOAL_ASSIGN(const auto device, CudaDevice::create(0));
  auto rules = RuleSet::builtin();
  SHOAL_TRY(cuda::attach_kernels(rules));
  SHOAL_ASSIGN(const auto rule, rules.make(fused.spec, fused.dtype, DeviceKind::cuda));
  const auto bytes = effort.smoke ? kMiB : fused.weight_mib * kMiB;
  const auto segments = bytes / kSegmentBytes;
  const auto values = kSegmentBytes / byte_size(fused.dtype);
  const auto layout = StateLayout::of(rule, values, 1, false);
  const auto states_of_one =
      (layout.bytes + kMemoryAlignment - 1) / kMemoryAlignment * kMemoryAlignment;
  SHOAL_ASSIGN(const auto weights, filled(*device, bytes));
  SHOAL_ASSIGN(const auto pushed, filled(*device, bytes * fused.pushes));
  DeviceMemory states;
  if (layout.bytes != 0) {
    SHOAL_ASSIGN(states, filled(*device, segments * states_of_one));
  }
  std::uint32_t step = 0;
  std::vector<const std::byte*> pushes(segments * fused.pushes);
  std::vector<DensePushes> updates(segments);
  for (std::size_t s = 0; s < segments; ++s) {
    for (std::size_t p = 0; p < fused.pushes; ++p)
      pushes[s * fused.pushes + p] = pushed.data() + p * bytes + s * kSegmentBytes;
    updates[s] = {
        layout.arrays(rule, weights.data() + s * kSegmentBytes, states.data() + s * states_of_one),
        0, values, std::span(pushes).subspan(s * fused.pushes, fused.pushes)};
    updates[s].arrays.steps = &step;
  }
  const auto touched = bytes * (2 + fused.pushes) + 2 * rule.traits().states * segments * values *
                                                        byte_size(accumulator_of(fused.dtype));
  return measure(*device, touched, effort, [&] {
    ++step;
    rule.apply(layout.shape(1, 0), updates, false, device->stream());
  });
}

constexpr std::uint32_t kRowWidth = 64;
constexpr std::uint32_t kPageRows = kSegmentBytes / (kRowWidth * sizeof(float));
constexpr std::uint32_t kPageShift = 10;
static_assert(kPageRows == 1u << kPageShift);

/// So many rows of 64 floats, and a random order of them.
class RandomRows {
 public:
  static Result<RandomRows> create(CudaDevice& device, std::size_t rows) {
    RandomRows all;
    const auto pages = (rows + kPageRows - 1) / kPageRows;
    SHOAL_ASSIGN(all.weights_, filled(device, pages * kSegmentBytes));
    SHOAL_ASSIGN(all.packed_, filled(device, rows * kRowWidth * sizeof(float)));
    SHOAL_ASSIGN(all.pages_, DeviceMemory::create(device, pages * sizeof(SegmentArrays)));
    SHOAL_ASSIGN(all.positions_, DeviceMemory::create(device, rows * sizeof(std::uint32_t)));
    SHOAL_ASSIGN(all.lists_, PinnedMemory::create(device.ordinal(),
                                                  all.pages_.bytes() + all.positions_.bytes()));
    const auto lists = all.lists_.view();
    const auto page_list = lists.sub(0, all.pages_.bytes());
    const auto position_list = lists.sub(all.pages_.bytes(), all.positions_.bytes());
    auto* arrays = reinterpret_cast<SegmentArrays*>(page_list.data);
    for (std::size_t p = 0; p < pages; ++p)
      arrays[p] = {all.weights_.data() + p * kSegmentBytes, nullptr, nullptr};
    auto* positions = reinterpret_cast<std::uint32_t*>(position_list.data);
    std::iota(positions, positions + rows, 0u);
    Random random(1);
    for (std::size_t i = rows; i > 1; --i) std::swap(positions[i - 1], positions[random.below(i)]);
    SHOAL_ASSIGN(const auto first, device.copy(all.pages_.view(), page_list));
    SHOAL_ASSIGN(const auto second, device.copy(all.positions_.view(), position_list));
    (void)first, (void)second;
    return all;
  }
  ListedRows rows() const {
    return {reinterpret_cast<const SegmentArrays*>(pages_.data()),
            {.width = kRowWidth, .page_shift = kPageShift},
            {reinterpret_cast<const std::uint32_t*>(positions_.data()),
             positions_.bytes() / sizeof(std::uint32_t)}};
  }
  std::byte* packed() const { return packed_.data(); }
  std::size_t bytes() const { return packed_.bytes(); }
  std::size_t list_bytes() const { return positions_.bytes(); }

 private:
  DeviceMemory weights_, packed_, pages_, positions_;
  PinnedMemory lists_;
};

std::size_t row_count(const Effort& effort) { return effort.smoke ? 10'000 : 10'000'000; }

Result<double> gather_rate(const Effort& effort) {
  SHOAL_ASSIGN(const auto device, CudaDevice::create(0));
  SHOAL_ASSIGN(const auto all, RandomRows::create(*device, row_count(effort)));
  return measure(*device, 2 * all.bytes() + all.list_bytes(), effort, [&] {
    cuda::row_kernels().gather(all.rows(), DType::f32, all.packed(), device->stream());
  });
}

Result<double> scatter_add_rate(const Effort& effort) {
  SHOAL_ASSIGN(const auto device, CudaDevice::create(0));
  SHOAL_ASSIGN(const auto all, RandomRows::create(*device, row_count(effort)));
  auto rules = RuleSet::builtin();
  SHOAL_TRY(cuda::attach_kernels(rules));
  SHOAL_ASSIGN(const auto add, rules.make(Add{}, DType::f32, DeviceKind::cuda));
  return measure(*device, 3 * all.bytes() + all.list_bytes(), effort,
                 [&] { add.apply(all.rows(), all.packed(), device->stream()); });
}

/// Passes over 64 million keys, in lists of four million, at a load of 0.75.
enum class IndexPass : std::uint8_t { insert, find };
Result<double> index_rate(IndexPass what, const Effort& effort) {
  SHOAL_ASSIGN(const auto device, CudaDevice::create(0));
  const std::uint32_t list = effort.smoke ? 4'000 : 4'000'000;
  constexpr std::uint32_t kLists = 16;
  const auto count = std::uint64_t{list} * kLists;
  SHOAL_ASSIGN(auto index, cuda::SparseIndex::create(*device, count * 16 / 15, list));
  SHOAL_ASSIGN(const auto here, PinnedMemory::create(0, count * sizeof(std::uint64_t)));
  SHOAL_ASSIGN(const auto keys, DeviceMemory::create(*device, here.view().bytes));
  SHOAL_ASSIGN(const auto positions, DeviceMemory::create(*device, count * sizeof(std::uint32_t)));
  auto* numbers = reinterpret_cast<std::uint64_t*>(here.view().data);
  for (std::uint64_t i = 0; i < count; ++i) numbers[i] = mix64(i + 1);
  SHOAL_ASSIGN(const auto copied, device->copy(keys.view(), here.view()));
  (void)copied;
  const auto* key_list = reinterpret_cast<const std::uint64_t*>(keys.data());
  auto* position_list = reinterpret_cast<std::uint32_t*>(positions.data());
  const auto insert_all = [&]() -> Status {
    for (std::uint32_t l = 0; l < kLists; ++l)
      SHOAL_TRY(index.insert_absent(key_list + std::uint64_t{l} * list, list,
                                    position_list + std::uint64_t{l} * list, l * list));
    return {};
  };
  SHOAL_TRY(insert_all());
  // Keys a nanosecond: 'bytes' are keys here.
  return measure(*device, count, effort, [&] {
    if (what == IndexPass::insert) {
      index.clear();
      (void)insert_all();
    } else {
      for (std::uint32_t l = 0; l < kLists; ++l)
        index.find(key_list + std::uint64_t{l} * list, list, position_list);
    }
  });
}

struct CodecCase {
  std::string name;
  cuda::CodecKernels kernels;
  std::size_t (*encoded_bytes)(std::size_t values);
  bool keeps_errors;
};

/// 256 MiB of f32 encoded, and decoded elsewhere.
Result<double> codec_rate(const CodecCase& codec, const Effort& effort) {
  SHOAL_ASSIGN(const auto device, CudaDevice::create(0));
  const auto bytes = effort.smoke ? kMiB : 256 * kMiB;
  const auto count = bytes / sizeof(float);
  const auto encoded_bytes = codec.encoded_bytes(count);
  SHOAL_ASSIGN(const auto values, filled(*device, bytes));
  SHOAL_ASSIGN(const auto errors, filled(*device, bytes));
  SHOAL_ASSIGN(const auto encoded, filled(*device, encoded_bytes));
  SHOAL_ASSIGN(const auto decoded, filled(*device, bytes));
  const auto touched = 2 * bytes + 2 * encoded_bytes + (codec.keeps_errors ? 2 * bytes : 0);
  return measure(*device, touched, effort, [&] {
    codec.kernels.encode(values.data(), reinterpret_cast<float*>(errors.data()), count,
                         encoded.data(), device->stream());
    codec.kernels.decode(encoded.data(), count, decoded.data(), device->stream());
  });
}

}  // namespace

void add_cuda_rows(std::vector<Row>& rows) {
  std::vector<FusedRule> fused{{"sum8", Add{}, DType::f32, 64, 8}};
  for (const auto dtype : {DType::f32, DType::bf16})
    for (const auto& [name, spec] : std::initializer_list<std::pair<const char*, UpdateSpec>>{
             {"sgd", Sgd{}}, {"adagrad", Adagrad{}}, {"adam", Adam{}}})
      fused.push_back(
          {dtype == DType::f32 ? name : fmt::format("bf16/{}", name), spec, dtype, 256, 1});
  for (const auto& rule : fused)
    rows.push_back({"cuda/" + rule.name, "GB/s", Goal::ratio_at_least(0.9),
                    [rule](const Effort& effort) {
                      return run_alone(rule.name, [&] { return update_rate(rule, effort); });
                    },
                    copy_ceiling});
  for (const auto& codec : std::vector<CodecCase>{
           {"f16", cuda::narrow_kernels(DType::f16), [](std::size_t values) { return 2 * values; },
            false},
           {"int8", cuda::int8_kernels(DType::f32), &codec::encoded_bytes<codec::Int8>, true},
           {"onebit", cuda::onebit_kernels(DType::f32), &codec::encoded_bytes<codec::OneBit>,
            true}})
    rows.push_back({"cuda/codec/" + codec.name, "GB/s", Goal::ratio_at_least(0.85),
                    [codec](const Effort& effort) {
                      return run_alone(codec.name, [&] { return codec_rate(codec, effort); });
                    },
                    copy_ceiling});
  rows.push_back({"cuda/index/find", "Gkeys/s", Goal::value_at_least(2),
                  [](const Effort& effort) {
                    return run_alone("find", [&] { return index_rate(IndexPass::find, effort); });
                  },
                  nullptr});
  rows.push_back({"cuda/index/insert", "Gkeys/s", Goal::value_at_least(1),
                  [](const Effort& effort) {
                    return run_alone("insert",
                                     [&] { return index_rate(IndexPass::insert, effort); });
                  },
                  nullptr});
  rows.push_back({"cuda/gather", "GB/s", Goal::ratio_at_least(0.75),
                  [](const Effort& effort) {
                    return run_alone("gather", [&] { return gather_rate(effort); });
                  },
                  copy_ceiling});
  rows.push_back({"cuda/scatter_add", "GB/s", Goal::ratio_at_least(0.6),
                  [](const Effort& effort) {
                    return run_alone("scatter_add", [&] { return scatter_add_rate(effort); });
                  },
                  copy_ceiling});
}

}  // namespace shoal::perf
