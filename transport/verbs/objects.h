#pragma once

#include <utility>

#include "transport/verbs/api.h"

namespace shoal::verbs {

/// An object of libibverbs, destroyed with its owner by the function of the table that does so.
/// Move-only. The table outlives it. A failure to destroy says that something still uses it: a bug.
template <class T, auto destroy>
class Object {
 public:
  Object() = default;
  Object(const Api& api, T* object) : api_(&api), object_(object) {}
  Object(Object&& other) noexcept
      : api_(other.api_), object_(std::exchange(other.object_, nullptr)) {}
  Object& operator=(Object&& other) noexcept {
    if (this != &other) {
      reset();
      api_ = other.api_;
      object_ = std::exchange(other.object_, nullptr);
    }
    return *this;
  }
  ~Object() { reset(); }

  void reset() {
    if (object_ != nullptr) (api_->*destroy)(std::exchange(object_, nullptr));
  }
  T* get() const { return object_; }
  T* operator->() const { return object_; }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  const Api* api_ = nullptr;
  T* object_ = nullptr;
};

using Context = Object<ibv_context, &Api::close_device>;
using ProtectionDomain = Object<ibv_pd, &Api::dealloc_pd>;
using MemoryRegion = Object<ibv_mr, &Api::dereg_mr>;
using Channel = Object<ibv_comp_channel, &Api::destroy_comp_channel>;
using CompletionQueue = Object<ibv_cq, &Api::destroy_cq>;
using SharedReceiveQueue = Object<ibv_srq, &Api::destroy_srq>;
using QueuePair = Object<ibv_qp, &Api::destroy_qp>;

}  // namespace shoal::verbs
