#include "worker/engine/key_plans.h"

#include <algorithm>
#include <utility>

namespace shoal {

bool KeyPlans::seen(const KeySignature& list) {
  return std::exchange(seen_[list.low % kSeen], list) == list;
}

std::unique_ptr<KeyPlan> KeyPlans::take(std::span<const Key> keys, const Asked& asked) {
  const bool known = bytes_max_ != 0 && keys.size() >= keys_min_;
  KeyPlan::Origin origin{known ? signature_of(keys) : KeySignature{}, keys.size(), asked.table,
                         routes_, false};
  if (known) {
    const auto at = std::find_if(kept_.rbegin(), kept_.rend(), [&](const auto& plan) {
      return plan->origin.list == origin.list && plan->origin.keys == origin.keys &&
             plan->origin.table == origin.table && plan->serves(asked.fold);
    });
    if (at != kept_.rend()) {
      auto plan = std::move(*at);
      kept_.erase(std::next(at).base());
      kept_bytes_ -= plan->memory_bytes();
      return plan;
    }
    origin.again = seen(origin.list);
  }
  auto plan = spares_.empty() ? std::make_unique<KeyPlan>() : std::move(spares_.back());
  if (!spares_.empty()) spares_.pop_back();
  plan->origin = origin;
  plan->group(keys, asked.geometry, asked.slot_rank, asked.fold, scratch_);
  if (origin.again) plan->sign(asked.geometry.rows_per_segment());
  return plan;
}

void KeyPlans::give(std::unique_ptr<KeyPlan> plan) {
  const auto bytes = plan->memory_bytes();
  if (!plan->origin.again || plan->origin.routes != routes_ || bytes > bytes_max_)
    return spare(std::move(plan));
  while (kept_.size() == kKeptMax || kept_bytes_ + bytes > bytes_max_) drop_oldest();
  kept_bytes_ += bytes;
  kept_.push_back(std::move(plan));
}

void KeyPlans::drop_oldest() {
  auto plan = std::move(kept_.front());
  kept_.erase(kept_.begin());
  kept_bytes_ -= plan->memory_bytes();
  spare(std::move(plan));
}

void KeyPlans::spare(std::unique_ptr<KeyPlan> plan) {
  auto bytes = plan->memory_bytes();
  for (const auto& other : spares_) bytes += other->memory_bytes();
  if (spares_.size() == kSparesMax || bytes > kSparesBytesMax) return;
  spares_.push_back(std::move(plan));
}

void KeyPlans::forget() {
  ++routes_;
  while (!kept_.empty()) drop_oldest();
}

}  // namespace shoal
