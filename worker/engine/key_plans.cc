#include "worker/engine/key_plans.h"

#include <utility>

namespace shoal {

bool KeyPlans::seen(const KeySignature& list) {
  return std::exchange(seen_[list.low % kSeen], list) == list;
}

KeyPlans::~KeyPlans() {
  while (!kept_.empty()) take_oldest();
}

std::unique_ptr<KeyPlan> KeyPlans::take_out(KeyPlan*& place) {
  std::unique_ptr<KeyPlan> plan(place);
  place = std::exchange(plan->chained, nullptr);
  kept_.erase(plan.get());
  kept_bytes_ -= plan->memory_bytes();
  return plan;
}

std::unique_ptr<KeyPlan> KeyPlans::take_kept(const KeyPlan::Origin& origin, bool fold) {
  for (auto* place = &bucket_of(origin); *place != nullptr; place = &(*place)->chained) {
    const auto& plan = **place;
    if (plan.origin.list == origin.list && plan.origin.keys == origin.keys &&
        plan.origin.table == origin.table && plan.serves(fold))
      return take_out(*place);
  }
  return nullptr;
}

std::unique_ptr<KeyPlan> KeyPlans::take_oldest() {
  auto* place = &bucket_of(kept_.front()->origin);
  while (*place != kept_.front()) place = &(*place)->chained;
  return take_out(*place);
}

std::unique_ptr<KeyPlan> KeyPlans::take(std::span<const Key> keys, const Asked& asked) {
  const bool known = bytes_max_ != 0 && keys.size() >= keys_min_;
  KeyPlan::Origin origin{known ? signature_of(keys) : KeySignature{}, keys.size(), asked.table,
                         routes_, false};
  if (known) {
    if (auto plan = take_kept(origin, asked.fold)) return plan;
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
  while (kept_.size() == kKeptMax || kept_bytes_ + bytes > bytes_max_) spare(take_oldest());
  kept_bytes_ += bytes;
  auto& bucket = bucket_of(plan->origin);
  plan->chained = bucket;
  bucket = plan.release();
  kept_.push_back(bucket);
}

void KeyPlans::spare(std::unique_ptr<KeyPlan> plan) {
  auto bytes = plan->memory_bytes();
  for (const auto& other : spares_) bytes += other->memory_bytes();
  if (spares_.size() == kSparesMax || bytes > kSparesBytesMax) return;
  spares_.push_back(std::move(plan));
}

void KeyPlans::forget() {
  ++routes_;
  while (!kept_.empty()) spare(take_oldest());
}

}  // namespace shoal
