#include <array>
#include <cstring>
#include <string>

#include "core/memory/device_memory.h"
#include "examples/mlp_cuda/parameters.h"

namespace shoal::mlp {
namespace {

/// A push or pull, and whether its end has been seen.
struct Operation {
  Ticket ticket;
  bool under_way = false;
};

/// Apart, so that neighbours share no page.
constexpr std::size_t kPageValues = 4096 / sizeof(float);

/// One layer's table and its memory, which is pieces of the buffer that all layers share. Two
/// copies of the weights take turns: one is computed with, the next is being pulled.
struct ServedLayer {
  struct Copy {
    std::size_t offset = 0;
    Mark mark = 0;  ///< until the mirror has what was pulled
  };
  Table<float> table;
  RowRange rows;
  std::size_t values = 0;
  std::array<Copy, 2> copies;
  std::size_t current = 0;
  bool taken = false;  ///< current is of this step
  std::size_t gradient = 0;
  std::optional<Mark> gradient_mark;  ///< it is on its way to the buffer
  Operation push, pull;

  Copy& next() { return copies[1 - current]; }
};

class ShoalParameters final : public Parameters {
 public:
  ShoalParameters(Math& math, Worker& worker, const Clock& clock, Overlap& overlap,
                  std::int64_t staleness)
      : math_(&math),
        worker_(&worker),
        clock_(&clock),
        overlap_(&overlap),
        lockstep_(staleness == 0) {}
  ~ShoalParameters() override {
    math_->call_between({});
    if (mirror_ != nullptr) math_->release(buffer_.span());
  }

  Status open(const ParameterSpec& spec) {
    layers_.resize(spec.shapes.size());
    for (std::size_t i = 0; i < layers_.size(); ++i) SHOAL_TRY(open_layer(spec, i));
    SHOAL_TRY(make_room());
    SHOAL_TRY(worker_->barrier());
    workers_ = worker_->worker_count();
    for (auto& layer : layers_) ask(layer, 0);
    math_->call_between([this] { poll(); });
    return {};
  }

  Result<const float*> weights(std::size_t index) override {
    auto& layer = layers_[index];
    if (!layer.taken) {
      SHOAL_TRY(wait(layer.pull));
      SHOAL_TRY(bring(layer));
      layer.current = 1 - layer.current;
      layer.taken = true;
      SHOAL_TRY(math_->follow(layer.copies[layer.current].mark));
      // In lockstep the next weights come with the push.
      if (!lockstep_) ask(layer, 1);
    }
    poll();
    SHOAL_TRY(status_);
    return mirror_ + layer.copies[layer.current].offset;
  }

  Result<float*> place(std::size_t index) override {
    SHOAL_TRY(wait(layers_[index].push));
    return mirror_ + layers_[index].gradient;
  }

  Status push(std::size_t index) override {
    auto& layer = layers_[index];
    SHOAL_ASSIGN(layer.gradient_mark,
                 math_->to_host(mirror_ + layer.gradient, host(layer, layer.gradient)));
    SHOAL_ASSIGN([[maybe_unused]] const bool all, push_arrived());
    return {};
  }

  Status end_step() override {
    for (;;) {
      SHOAL_ASSIGN(const bool all, push_arrived());
      if (all) break;
      poll();
    }
    worker_->tick();
    for (auto& layer : layers_) layer.taken = false;
    poll();
    return status_;
  }

  Status finish() override {
    for (auto& layer : layers_) {
      SHOAL_TRY(wait(layer.push));
      SHOAL_TRY(wait(layer.pull));
    }
    SHOAL_TRY(worker_->flush());
    SHOAL_TRY(worker_->barrier());
    for (auto& layer : layers_) {
      SHOAL_TRY(arrive(layer.next().mark));  // what was pulled for a step that never comes
      ask(layer, 0);
    }
    for (auto& layer : layers_) {
      SHOAL_TRY(wait(layer.pull));
      SHOAL_TRY(bring(layer));
      layer.current = 1 - layer.current;
      layer.taken = true;
      SHOAL_TRY(math_->follow(layer.copies[layer.current].mark));
    }
    return {};
  }

  std::uint32_t summed() const override { return lockstep_ ? workers_ : 1; }

 private:
  Status open_layer(const ParameterSpec& spec, std::size_t index) {
    const auto& shape = spec.shapes[index];
    auto& layer = layers_[index];
    TableSpec table{.name = "mlp_cuda.layer" + std::to_string(index),
                    .rows = shape.rows(),
                    .row_width = static_cast<std::uint32_t>(shape.outputs),
                    .update = spec.update,
                    .initializer = initializer_of(shape, spec.seed, index),
                    .staleness = spec.staleness};
    table.apply = lockstep_ ? Apply::collective : Apply::on_arrival;
    SHOAL_ASSIGN(layer.table, worker_->create_or_open<float>(table));
    layer.rows = {Row{0}, shape.rows()};
    layer.values = shape.values();
    return {};
  }
  /// One buffer for everything: it is registered and pinned as one.
  Status make_room() {
    std::size_t end = 0;
    for (auto& layer : layers_)
      for (auto* offset : {&layer.copies[0].offset, &layer.copies[1].offset, &layer.gradient}) {
        *offset = end;
        end += (layer.values + kPageValues - 1) / kPageValues * kPageValues;
      }
    SHOAL_TRY(make_buffer(end));
    SHOAL_ASSIGN(mirror_, math_->mirror(buffer_.span()));
    return {};
  }
  /// Worker::allocate's pages may be replaced by others (docs/design/ucx.md), and a GPU would go on
  /// with the old ones: where one copies, they are pages of our own.
  Status make_buffer(std::size_t count) {
    if (math_->kind() == DeviceKind::host) {
      SHOAL_ASSIGN(buffer_, worker_->allocate<float>(count));
      return {};
    }
    SHOAL_ASSIGN(pages_, DeviceMemory::create(own_memory_, count * sizeof(float)));
    std::memset(pages_.data(), 0, pages_.bytes());
    SHOAL_ASSIGN(auto registered, worker_->register_memory(pages_.view()));
    buffer_ = Buffer<float>(std::move(registered));
    return {};
  }
  std::span<float> host(const ServedLayer& layer, std::size_t offset) const {
    return buffer_.span().subspan(offset, layer.values);
  }

  void begin(Operation& operation, Ticket ticket) {
    operation.ticket = std::move(ticket);
    operation.under_way = true;
    overlap_->begin(clock_->now());
  }
  void ask(ServedLayer& layer, std::int64_t ahead) {
    PullOptions options;
    options.ahead = ahead;
    begin(layer.pull,
          layer.table.pull(layer.rows, {buffer_, layer.next().offset, layer.values}, options));
  }
  void seen(Operation& operation) {
    if (!operation.under_way) return;
    operation.under_way = false;
    overlap_->end(clock_->now());
  }
  /// Blocks until it is done, if it was begun.
  Status wait(Operation& operation) {
    SHOAL_TRY(status_);
    if (!operation.ticket.valid()) return {};
    const auto began = clock_->now();
    const bool blocks = !operation.ticket.ready();
    const auto done = operation.ticket.wait();
    if (blocks) overlap_->blocked(clock_->now() - began);
    seen(operation);
    if (done.ok()) return {};
    operation.ticket = {};
    return done.error();
  }
  Status arrive(Mark mark) {
    for (;;) {
      SHOAL_ASSIGN(const bool arrived, math_->done(mark));
      if (arrived) return {};
    }
  }
  /// What was pulled goes to the next copy's mirror, once.
  Status bring(ServedLayer& layer) {
    if (!layer.pull.ticket.valid()) return {};
    layer.pull.ticket = {};
    auto& copy = layer.next();
    SHOAL_ASSIGN(copy.mark, math_->to_mirror(host(layer, copy.offset), mirror_ + copy.offset));
    return {};
  }

  /// Pushes the gradients that are here. False: some are still coming.
  Result<bool> push_arrived() {
    SHOAL_TRY(status_);
    bool all = true;
    for (auto& layer : layers_) {
      if (!layer.gradient_mark) continue;
      SHOAL_ASSIGN(const bool arrived, math_->done(*layer.gradient_mark));
      if (!arrived) {
        all = false;
        continue;
      }
      layer.gradient_mark.reset();
      const Source<float> gradient(buffer_, layer.gradient, layer.values);
      if (lockstep_)
        begin(layer.pull, layer.table.push_pull(layer.rows, gradient,
                                                {buffer_, layer.next().offset, layer.values}));
      else
        begin(layer.push, layer.table.push(layer.rows, gradient));
    }
    return all;
  }

  /// Sees what has ended meanwhile. The first failure is kept for the next call that can tell it.
  void poll() {
    for (auto& layer : layers_) {
      for (auto* operation : {&layer.push, &layer.pull}) {
        if (!operation->under_way || !operation->ticket.ready()) continue;
        auto status = wait(*operation);
        if (status.ok() && operation == &layer.pull) status = bring(layer);
        if (!status.ok() && status_.ok()) status_ = std::move(status);
      }
    }
  }

  Math* math_;
  Worker* worker_;
  const Clock* clock_;
  Overlap* overlap_;
  bool lockstep_;
  std::uint32_t workers_ = 1;  ///< when the training began
  Status status_;
  HostDevice own_memory_;
  DeviceMemory pages_;
  Buffer<float> buffer_;
  float* mirror_ = nullptr;
  std::vector<ServedLayer> layers_;  ///< last: its tickets end before the buffer
};

}  // namespace

Result<std::unique_ptr<Parameters>> keep_in_shoal(Math& math, const ParameterSpec& spec,
                                                  Worker& worker, const Clock& clock,
                                                  Overlap& overlap) {
  auto parameters = std::make_unique<ShoalParameters>(math, worker, clock, overlap, spec.staleness);
  SHOAL_TRY(parameters->open(spec));
  return std::unique_ptr<Parameters>(std::move(parameters));
}

}  // namespace shoal::mlp
