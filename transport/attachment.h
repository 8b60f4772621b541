#pragma once

#include <utility>

#include "core/base/result.h"
#include "transport/transport.h"

namespace shoal {

/// Memory that is attached to a transport for as long as this lives; see Transport::attach().
/// Move-only. Transport and memory outlive it.
class Attachment {
 public:
  static Result<Attachment> create(Transport& transport, MemoryView memory) {
    SHOAL_TRY(transport.attach(memory));
    return Attachment(&transport, memory);
  }
  Attachment() = default;
  Attachment(Attachment&& other) noexcept { swap(other); }
  Attachment& operator=(Attachment&& other) noexcept {
    Attachment(std::move(other)).swap(*this);
    return *this;
  }
  ~Attachment() {
    if (transport_ != nullptr) transport_->detach(memory_);
  }

 private:
  Attachment(Transport* transport, MemoryView memory) : transport_(transport), memory_(memory) {}
  void swap(Attachment& other) noexcept {
    std::swap(transport_, other.transport_);
    std::swap(memory_, other.memory_);
  }

  Transport* transport_ = nullptr;
  MemoryView memory_;
};

}  // namespace shoal
