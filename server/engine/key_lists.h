#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/table/key_signature.h"
#include "server/engine/pool.h"

namespace shoal {

class SlotState;

/// The key lists that workers repeat: by slot and signature, the positions of a part's rows, so
/// that neither keys travel nor an index is searched. A row's position lasts as long as its slot;
/// of a list with keys that have no row yet (and of a dense table, whose keys are rows) the keys
/// are kept instead, and looked up again once the slot has grown. Bounded; the list that was used
/// least recently goes first, and its keys are READ again at its next use. Belongs to one loop. See
/// docs/design/protocol.md.
class KeyLists {
 public:
  /// At most `bytes_max` bytes, of which each list takes kListBytes beside its keys or positions.
  explicit KeyLists(std::uint64_t bytes_max) : bytes_max_(bytes_max) {}

  /// What a list takes beside its keys or positions: itself, its node and place in the table, and
  /// what the allocator adds to each.
  static constexpr std::uint64_t kListBytes = 256;

  /// One of the two is empty.
  struct Rows {
    std::span<const std::uint32_t> positions;
    std::span<const Key> keys;
    bool distinct = false;  ///< positions: known to name no row twice
    bool known() const { return !positions.empty() || !keys.empty(); }
  };
  /// The list of `count` keys, valid until the next call; nothing if it is not here.
  Rows find(SlotState& slot, const KeySignature& signature, std::uint64_t count);
  /// Whether there is such a list, of however many keys. It counts as a use: a part that is READ
  /// without its keys finds them when it has come.
  bool touch(SlotState& slot, const KeySignature& signature);
  /// Keeps a list whose keys belong to `slot`, unless the signature is another list's.
  void put(SlotState& slot, const KeySignature& signature, std::span<const Key> keys);
  /// The slot goes.
  void forget(const SlotState& slot);

  std::size_t size() const { return lists_.size(); }
  std::uint64_t bytes() const { return bytes_; }

 private:
  struct Id {
    const SlotState* slot;
    KeySignature signature;
    friend bool operator==(const Id&, const Id&) = default;
  };
  struct Hash {
    std::size_t operator()(const Id& id) const {
      return id.signature.low ^ reinterpret_cast<std::uintptr_t>(id.slot);
    }
  };
  struct Kept {
    Id id;
    std::vector<std::uint32_t> positions;
    std::vector<Key> keys;
    std::uint64_t rows_then = 0;  ///< of the slot, when the keys were last looked up
    bool distinct = false;
    Link<Kept> by_use;

    std::uint64_t bytes() const {
      return kListBytes + positions.size() * sizeof(std::uint32_t) + keys.size() * sizeof(Key);
    }
  };
  static_assert(kListBytes >= sizeof(Kept) + sizeof(std::pair<const Id, std::unique_ptr<Kept>>) +
                                  4 * 2 * sizeof(void*));
  void resolve(Kept& list, SlotState& slot, std::span<const Key> keys);
  void drop(Kept& list);

  std::uint64_t bytes_max_;
  std::uint64_t bytes_ = 0;
  std::unordered_map<Id, std::unique_ptr<Kept>, Hash> lists_;
  List<Kept, &Kept::by_use> by_use_;  ///< least recently used first
};

}  // namespace shoal
