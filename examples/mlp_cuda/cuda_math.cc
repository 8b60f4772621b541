#include <cuda_runtime_api.h>
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <deque>
#include <numeric>
#include <string>
#include <vector>

#include "cuda/error.h"
#include "cuda/gpus.h"
#include "cuda/rule_kernels.h"
#include "examples/mlp_cuda/cublas.h"
#include "examples/mlp_cuda/kernels.h"
#include "examples/mlp_cuda/math.h"

namespace shoal::mlp {
namespace {

/// Three streams: one computes, one brings weights up, one brings gradients down, so that copies
/// run beside kernels. Marks are CUDA's events, numbered in the order in which they were recorded.
class CudaMath final : public Math {
 public:
  explicit CudaMath(std::uint16_t ordinal)
      : ordinal_(ordinal), name_(fmt::format("cuda:{}", ordinal)), rules_(RuleSet::builtin()) {}
  ~CudaMath() override;
  CudaMath(const CudaMath&) = delete;
  CudaMath& operator=(const CudaMath&) = delete;
  /// Errors: unavailable, no_memory.
  Status open();

  std::string_view name() const override { return name_; }
  /// Nothing runs on the calling thread.
  void call_between(std::function<void()> /*between*/) override {}

  Result<float*> allocate(std::size_t count) override;
  Result<float*> mirror(std::span<float> host) override;
  void release(std::span<float> host) override;
  Result<Mark> to_mirror(std::span<const float> host, float* mirror) override;
  Result<Mark> to_host(const float* mirror, std::span<float> host) override;
  Result<bool> done(Mark mark) override;
  Status follow(Mark mark) override;
  Status read(const float* from, std::span<float> to) override;

  Status load(Part part, const Images& images) override;
  Status arrange(Part part, std::span<const std::uint32_t> order) override;
  void take(Part part, std::size_t first, Matrix pixels, float* classes) override;

  void multiply(Factor a, Factor b, Matrix product) override;
  void add_bias(Matrix matrix, const float* bias, bool relu) override {
    run(AddBias{matrix.values, matrix.rows, matrix.columns, bias, relu});
  }
  void mask(Matrix gradients, const float* outputs) override {
    run(MaskGradients{gradients.values, outputs, gradients.rows * gradients.columns});
  }
  void sum_columns(Matrix matrix, float* sums) override {
    run(SumColumns{matrix.values, matrix.rows, matrix.columns, sums});
  }
  void softmax(Matrix scores, const float* classes, float scale, float* tally) override {
    run(Softmax{scores.values, scores.rows, scores.columns, classes, scale, tally});
  }
  void clear(float* values, std::size_t count) override {
    enter();
    check("cudaMemsetAsync", cudaMemsetAsync(values, 0, count * sizeof(float), compute_));
  }

  const RuleSet& rules() const override { return rules_; }
  DeviceKind kind() const override { return DeviceKind::cuda; }
  void* stream() const override { return compute_; }

 private:
  struct Recorded {
    Mark mark;
    cudaEvent_t event;
  };
  struct OnGpu {
    std::uint8_t* images = nullptr;
    std::uint8_t* classes = nullptr;
    std::uint32_t* order = nullptr;
    std::size_t count = 0;
    float mean = 0, factor = 1;
  };

  /// This thread's calls go to the GPU.
  void enter() { check("cudaSetDevice", cudaSetDevice(ordinal_)); }
  /// Keeps the first failure.
  void check(std::string_view call, cudaError_t code) {
    if (code != cudaSuccess && status_.ok()) status_ = cuda_error(call, code);
  }
  void check(std::string_view call, cublasStatus_t code) {
    if (code != CUBLAS_STATUS_SUCCESS && status_.ok())
      status_ = Error{Errc::io, fmt::format("{}: {}", call, cublas_.status_string(code))};
  }
  template <class Kernel>
  void run(const Kernel& kernel) {
    enter();
    launch(kernel, compute_);
    check("a kernel's launch", cudaGetLastError());
  }
  Result<void*> allocate_bytes(std::size_t bytes);
  Result<Mark> record(cudaStream_t stream);
  void collect();
  /// Null: it is done.
  cudaEvent_t event_of(Mark mark) const {
    if (recorded_.empty() || mark < recorded_.front().mark) return nullptr;
    return recorded_[mark - recorded_.front().mark].event;
  }

  std::uint16_t ordinal_;
  std::string name_;
  RuleSet rules_;
  Cublas cublas_;
  Status status_;
  cublasHandle_t handle_ = nullptr;
  cudaStream_t compute_ = nullptr, up_ = nullptr, down_ = nullptr;
  std::vector<void*> memory_;
  std::array<OnGpu, kPartCount> parts_;
  Mark last_ = 0;
  std::deque<Recorded> recorded_;  ///< marks one after another, those done left out at the front
  std::vector<cudaEvent_t> spare_;
};

Status CudaMath::open() {
  SHOAL_ASSIGN(const auto gpus, find_gpus());
  if (ordinal_ >= gpus.size())
    return Error{Errc::unavailable, fmt::format("there is no {}: this process sees {} GPU{}", name_,
                                                gpus.size(), gpus.size() == 1 ? "" : "s")};
  SHOAL_ASSIGN(cublas_, load_cublas());
  SHOAL_TRY(cuda::attach_kernels(rules_));
  enter();
  for (auto* stream : {&compute_, &up_, &down_})
    check("cudaStreamCreateWithFlags", cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking));
  SHOAL_TRY(status_);
  check("cublasCreate", cublas_.create(&handle_));
  SHOAL_TRY(status_);
  check("cublasSetStream", cublas_.set_stream(handle_, compute_));
  return status_;
}

CudaMath::~CudaMath() {
  if (compute_ == nullptr) return;  // no GPU was touched
  (void)cudaSetDevice(ordinal_);
  (void)cudaDeviceSynchronize();
  if (handle_ != nullptr) (void)cublas_.destroy(handle_);
  for (const auto& [mark, event] : recorded_) (void)cudaEventDestroy(event);
  for (auto* event : spare_) (void)cudaEventDestroy(event);
  for (auto* memory : memory_) (void)cudaFree(memory);
  for (auto* stream : {compute_, up_, down_})
    if (stream != nullptr) (void)cudaStreamDestroy(stream);
}

Result<void*> CudaMath::allocate_bytes(std::size_t bytes) {
  enter();
  void* memory = nullptr;
  check("cudaMalloc", cudaMalloc(&memory, std::max<std::size_t>(bytes, 1)));
  SHOAL_TRY(status_);
  memory_.push_back(memory);
  check("cudaMemsetAsync", cudaMemsetAsync(memory, 0, bytes, compute_));
  // Other streams, too, begin behind the zeros.
  check("cudaStreamSynchronize", cudaStreamSynchronize(compute_));
  SHOAL_TRY(status_);
  return memory;
}

Result<float*> CudaMath::allocate(std::size_t count) {
  SHOAL_ASSIGN(auto* const memory, allocate_bytes(count * sizeof(float)));
  return static_cast<float*>(memory);
}

Result<float*> CudaMath::mirror(std::span<float> host) {
  SHOAL_ASSIGN(auto* const memory, allocate(host.size()));
  check("cudaHostRegister",
        cudaHostRegister(host.data(), host.size_bytes(), cudaHostRegisterPortable));
  SHOAL_TRY(status_);
  return memory;
}

void CudaMath::release(std::span<float> host) {
  if (host.empty()) return;
  (void)cudaSetDevice(ordinal_);
  (void)cudaDeviceSynchronize();
  (void)cudaHostUnregister(host.data());
}

Result<Mark> CudaMath::to_mirror(std::span<const float> host, float* mirror) {
  enter();
  check("cudaMemcpyAsync",
        cudaMemcpyAsync(mirror, host.data(), host.size_bytes(), cudaMemcpyHostToDevice, up_));
  return record(up_);
}

Result<Mark> CudaMath::to_host(const float* mirror, std::span<float> host) {
  SHOAL_ASSIGN(const auto computed, record(compute_));
  if (auto* const event = event_of(computed))
    check("cudaStreamWaitEvent", cudaStreamWaitEvent(down_, event, 0));
  check("cudaMemcpyAsync",
        cudaMemcpyAsync(host.data(), mirror, host.size_bytes(), cudaMemcpyDeviceToHost, down_));
  return record(down_);
}

Result<Mark> CudaMath::record(cudaStream_t stream) {
  enter();
  collect();
  cudaEvent_t event = nullptr;
  if (spare_.empty()) {
    check("cudaEventCreateWithFlags", cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    SHOAL_TRY(status_);
  } else {
    event = spare_.back();
    spare_.pop_back();
  }
  recorded_.push_back({++last_, event});
  check("cudaEventRecord", cudaEventRecord(event, stream));
  SHOAL_TRY(status_);
  return last_;
}

/// Events that are done are used again.
void CudaMath::collect() {
  while (!recorded_.empty()) {
    const auto code = cudaEventQuery(recorded_.front().event);
    if (code == cudaErrorNotReady) return;
    check("cudaEventQuery", code);
    spare_.push_back(recorded_.front().event);
    recorded_.pop_front();
  }
}

Result<bool> CudaMath::done(Mark mark) {
  enter();
  SHOAL_TRY(status_);
  auto* const event = event_of(mark);
  if (event == nullptr) return true;
  const auto code = cudaEventQuery(event);
  if (code == cudaErrorNotReady) return false;
  check("cudaEventQuery", code);
  SHOAL_TRY(status_);
  return true;
}

Status CudaMath::follow(Mark mark) {
  enter();
  if (auto* const event = event_of(mark))
    check("cudaStreamWaitEvent", cudaStreamWaitEvent(compute_, event, 0));
  return status_;
}

Status CudaMath::read(const float* from, std::span<float> to) {
  enter();
  check("cudaMemcpyAsync",
        cudaMemcpyAsync(to.data(), from, to.size_bytes(), cudaMemcpyDeviceToHost, compute_));
  check("cudaStreamSynchronize", cudaStreamSynchronize(compute_));
  return status_;
}

Status CudaMath::load(Part part, const Images& images) {
  auto& on_gpu = parts_[static_cast<std::size_t>(part)];
  on_gpu.count = images.count();
  on_gpu.mean = images.mean;
  on_gpu.factor = images.factor;
  SHOAL_ASSIGN(auto* const values, allocate_bytes(images.values.size()));
  SHOAL_ASSIGN(auto* const classes, allocate_bytes(images.classes.size()));
  SHOAL_ASSIGN(auto* const order, allocate_bytes(images.count() * sizeof(std::uint32_t)));
  on_gpu.images = static_cast<std::uint8_t*>(values);
  on_gpu.classes = static_cast<std::uint8_t*>(classes);
  on_gpu.order = static_cast<std::uint32_t*>(order);
  check("cudaMemcpyAsync", cudaMemcpyAsync(values, images.values.data(), images.values.size(),
                                           cudaMemcpyHostToDevice, compute_));
  check("cudaMemcpyAsync", cudaMemcpyAsync(classes, images.classes.data(), images.classes.size(),
                                           cudaMemcpyHostToDevice, compute_));
  std::vector<std::uint32_t> as_they_are(images.count());
  std::iota(as_they_are.begin(), as_they_are.end(), 0u);
  return arrange(part, as_they_are);
}

Status CudaMath::arrange(Part part, std::span<const std::uint32_t> order) {
  const auto& on_gpu = parts_[static_cast<std::size_t>(part)];
  SHOAL_ASSERT(order.size() == on_gpu.count, "an order of other images");
  enter();
  check("cudaMemcpyAsync", cudaMemcpyAsync(on_gpu.order, order.data(), order.size_bytes(),
                                           cudaMemcpyHostToDevice, compute_));
  check("cudaStreamSynchronize", cudaStreamSynchronize(compute_));  // the caller's memory
  return status_;
}

void CudaMath::take(Part part, std::size_t first, Matrix pixels, float* classes) {
  const auto& on_gpu = parts_[static_cast<std::size_t>(part)];
  SHOAL_ASSERT(first <= on_gpu.count && pixels.rows <= on_gpu.count - first, "no such images");
  run(TakeImages{on_gpu.images, on_gpu.classes, on_gpu.order + first, on_gpu.mean, on_gpu.factor,
                 pixels.rows, pixels.columns, pixels.values, classes});
}

/// cuBLAS has columns one behind the other: to it each of our matrices is its transpose, and the
/// product of transposes is that of the factors in the other order.
void CudaMath::multiply(Factor a, Factor b, Matrix product) {
  enter();
  const auto form = [](const Factor& factor) {
    return factor.transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
  };
  const float one = 1, zero = 0;
  check("cublasSgemm",
        cublas_.sgemm(handle_, form(b), form(a), static_cast<int>(product.columns),
                      static_cast<int>(product.rows), static_cast<int>(a.depth()), &one, b.values,
                      static_cast<int>(b.columns), a.values, static_cast<int>(a.columns), &zero,
                      product.values, static_cast<int>(product.columns)));
}

}  // namespace

Result<std::unique_ptr<Math>> create_cuda_math(std::uint16_t ordinal) {
  auto math = std::make_unique<CudaMath>(ordinal);
  SHOAL_TRY(math->open());
  return std::unique_ptr<Math>(std::move(math));
}

}  // namespace shoal::mlp
