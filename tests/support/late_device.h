#pragma once

#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <utility>

#include "core/base/assert.h"
#include "core/memory/device.h"
#include "core/ops/rule_set.h"
#include "core/ops/rules.h"
#include "cuda/row_entries.h"
#include "cuda/rule_entries.h"

namespace shoal::test {

/// A device like a GPU, in this process: what is issued waits until the test lets it run, in order,
/// and reads its lists and inputs only then. Its memory says that it is not the CPU's, and begins
/// with poison. Kernels are those of cuda/.
class LateDevice final : public Device {
 public:
  static constexpr std::byte kPoison{0xd7};

  ~LateDevice() override { run_all(); }

  std::string_view name() const override { return "late:0"; }
  MemorySpace space() const override { return MemorySpace::cuda; }
  std::uint16_t ordinal() const override { return 0; }
  void* stream() const override { return const_cast<LateDevice*>(this); }

  Result<MemoryView> allocate(std::size_t bytes, AllocateOptions) override {
    const auto rounded = (bytes + kMemoryAlignment - 1) / kMemoryAlignment * kMemoryAlignment;
    auto* memory = static_cast<std::byte*>(std::aligned_alloc(kMemoryAlignment, rounded));
    std::memset(memory, std::to_integer<int>(kPoison), rounded);
    return MemoryView{memory, bytes, MemorySpace::cuda, 0};
  }
  void deallocate(MemoryView memory) override {
    issue([data = memory.data] { std::free(data); });
  }
  bool discard(MemoryView, MemoryView) override { return false; }

  Result<DeviceEvent> copy(MemoryView to, ConstMemoryView from) override {
    SHOAL_ASSERT(to.bytes == from.bytes, "a copy of unlike lengths");
    SHOAL_ASSERT(to.space != MemorySpace::host && from.space != MemorySpace::host,
                 "a copy of pageable memory would make the loop wait");
    issue([=] {
      if (to.bytes != 0) std::memcpy(to.data, from.data, to.bytes);
    });
    return record();
  }
  Result<DeviceEvent> fill(MemoryView memory, std::byte value) override {
    issue([=] {
      if (memory.bytes != 0) std::memset(memory.data, std::to_integer<int>(value), memory.bytes);
    });
    return record();
  }
  Result<DeviceEvent> make_visible(MemoryView) override { return record(); }
  Result<DeviceEvent> record() override {
    if (broken_) return failure();
    return DeviceEvent(issued_);
  }
  Result<bool> done(DeviceEvent event) override {
    if (broken_) return failure();
    return event.value <= finished_;
  }
  /// As a sticky error of CUDA.
  void break_down() { broken_ = true; }

  void issue(std::function<void()> work) {
    waiting_.push_back(std::move(work));
    ++issued_;
  }
  std::size_t waiting() const { return waiting_.size(); }
  /// Runs the oldest `count` that wait.
  void run(std::size_t count) {
    for (; count > 0 && !waiting_.empty(); --count) {
      const auto work = std::move(waiting_.front());
      waiting_.pop_front();
      work();
      ++finished_;
    }
  }
  void run_all() { run(waiting_.size()); }

 private:
  static Error failure() { return {Errc::io, "a kernel touched memory that is not there"}; }

  std::deque<std::function<void()>> waiting_;
  std::uint64_t issued_ = 0;
  std::uint64_t finished_ = 0;
  bool broken_ = false;
};

/// The executor of its kernels.
struct OnLateDevice {
  template <class Body>
  static void run(const Body& body, void* stream) {
    static_cast<LateDevice*>(stream)->issue([body] { cuda::run_on_host(body); });
  }
};

/// Host memory that such a device reaches.
class PinnedHost final : public Device {
 public:
  std::string_view name() const override { return "pinned"; }
  MemorySpace space() const override { return MemorySpace::pinned; }
  std::uint16_t ordinal() const override { return 0; }
  void* stream() const override { return nullptr; }
  Result<MemoryView> allocate(std::size_t bytes, AllocateOptions options) override {
    SHOAL_ASSIGN(auto memory, host_.allocate(bytes, options));
    memory.space = MemorySpace::pinned;
    return memory;
  }
  void deallocate(MemoryView memory) override {
    memory.space = MemorySpace::host;
    host_.deallocate(memory);
  }
  bool discard(MemoryView, MemoryView) override { return false; }
  Result<DeviceEvent> copy(MemoryView to, ConstMemoryView from) override {
    return host_.copy(to, from);
  }
  Result<DeviceEvent> fill(MemoryView memory, std::byte value) override {
    return host_.fill(memory, value);
  }
  Result<DeviceEvent> make_visible(MemoryView) override { return DeviceEvent(); }
  Result<DeviceEvent> record() override { return DeviceEvent(); }
  Result<bool> done(DeviceEvent) override { return true; }

 private:
  HostDevice host_;
};

/// Rules with forms for a LateDevice, as DeviceKind::cuda.
inline RuleSet late_rules() {
  auto rules = RuleSet::builtin();
  const auto attach = [&]<class... F>() {
    const auto one = [&]<class G>() {
      static constexpr auto kTable = cuda::kernel_table<OnLateDevice, G>();
      SHOAL_ASSERT(rules.attach(G::kTraits.name, DeviceKind::cuda, kTable).ok(), "a built-in rule");
    };
    (one.template operator()<F>(), ...);
  };
  attach.template operator()<Assign, Add, Sgd, Adagrad, Adam, Proximal>();
  static constexpr auto kRows = cuda::row_kernels<OnLateDevice>();
  rules.attach(DeviceKind::cuda, kRows);
  return rules;
}

}  // namespace shoal::test
