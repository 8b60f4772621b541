#include "server/engine/key_lists.h"

#include "server/engine/slot.h"

namespace shoal {

/// Fills in the list's positions, or its keys where some have no row.
void KeyLists::resolve(Kept& list, SlotState& slot, std::span<const Key> keys) {
  bytes_ -= list.bytes();
  auto* store = slot.sparse();
  list.rows_then = store != nullptr ? store->row_count() : 0;
  list.positions.resize(store != nullptr ? keys.size() : 0);
  list.distinct = false;
  if (store != nullptr && store->find(keys, list.positions)) {
    list.keys = {};
    list.distinct = store->are_distinct(list.positions);
  } else {
    list.positions = {};
    if (list.keys.empty()) list.keys.assign(keys.begin(), keys.end());
  }
  bytes_ += list.bytes();
}

bool KeyLists::touch(SlotState& slot, const KeySignature& signature) {
  const auto at = lists_.find({&slot, signature});
  if (at == lists_.end()) return false;
  by_use_.erase(at->second.get());
  by_use_.push_back(at->second.get());
  return true;
}

KeyLists::Rows KeyLists::find(SlotState& slot, const KeySignature& signature, std::uint64_t count) {
  const auto at = lists_.find({&slot, signature});
  if (at == lists_.end()) return {};
  auto& list = *at->second;
  if (list.positions.size() + list.keys.size() != count) return {};
  by_use_.erase(&list);
  by_use_.push_back(&list);
  if (!list.keys.empty() && slot.sparse() != nullptr &&
      slot.sparse()->row_count() != list.rows_then)
    resolve(list, slot, list.keys);
  return {list.positions, list.keys, list.distinct};
}

void KeyLists::put(SlotState& slot, const KeySignature& signature, std::span<const Key> keys) {
  // A list that changed on its way, or a worker in error, must not stand for others.
  if (kListBytes + keys.size_bytes() > bytes_max_ || signature_of(keys) != signature) return;
  auto& place = lists_[{&slot, signature}];
  if (place != nullptr) return;  // Two requests fetched it at the same time.
  place = std::make_unique<Kept>();
  place->id = {&slot, signature};
  bytes_ += place->bytes();
  by_use_.push_back(place.get());
  resolve(*place, slot, keys);
  while (bytes_ > bytes_max_) drop(*by_use_.front());
}

void KeyLists::drop(Kept& list) {
  bytes_ -= list.bytes();
  by_use_.erase(&list);
  const auto id = list.id;
  lists_.erase(id);
}

void KeyLists::forget(const SlotState& slot) {
  for (auto* list = by_use_.front(); list != nullptr;) {
    auto* next = by_use_.next(list);
    if (list->id.slot == &slot) drop(*list);
    list = next;
  }
}

}  // namespace shoal
