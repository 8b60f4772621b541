#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/base/clock.h"
#include "core/base/ids.h"
#include "core/table/messages.h"
#include "worker/engine/operation.h"

namespace shoal {

/// The rows of one slot in an operation, on their way to one server.
struct Run {
  SlotIndex slot;
  std::uint32_t part_count = 0;
  bool burnt = false;           ///< pushes: the number of one of its parts was taken without data
  Sequence first_q;             ///< pushes
  Sequence after;               ///< pulls
  std::uint64_t row_begin = 0;  ///< ranges: the first row; key lists: the first grouped key
  std::uint64_t row_count = 0;
  std::uint64_t offset = 0;      ///< bytes, in the operation's memory (user's or plan's)
  std::uint32_t first_part = 0;  ///< key lists: of the plan's signatures
};

/// Some runs of an operation that travel to one server as one message, until they are answered for
/// good. A push that was let go of lives on as a burnt request, without an operation.
struct Request {
  enum class Kind : std::uint8_t { push, pull, burn };
  enum class Stage : std::uint8_t {
    free,
    planned,     ///< made, but its sequence numbers are not yet given
    posted,      ///< with the session: queued, sent or being repeated
    waiting,     ///< to be posted later: with a newer view, after a moment, or when held_back ends
    reading,     ///< pull: its rows are being READ
    letting_go,  ///< pull: cancel was sent
  };
  Kind kind = Kind::push;
  Stage stage = Stage::free;
  bool store = false;
  bool by_keys = false;
  bool eager = false;               ///< pull: the values come in the answer
  bool early = false;               ///< pull: posted before it was admissible: see Server::early
  bool held_back = false;           ///< waiting: until its server has room for what is early
  bool repeated = false;            ///< burn: sent over more than one connection
  bool doubtful = false;            ///< push: a connection broke that may have brought it
  bool partly = false;              ///< push: of a run that is asked for again a part was applied
  bool one_sided = false;           ///< pull: to be READ, if that can be, when it is posted
  std::uint32_t share = kNone;      ///< reading: of Engine::reads_
  std::uint32_t operation = kNone;  ///< index; kNone: the operation has ended
  std::uint32_t generation = 0;     ///< of this Request, in the session's context
  TableId table;
  WorkerClock clock;        ///< pushes: at which they were issued; pulls: u
  std::uint64_t place = 0;  ///< pushes: in the order of issue
  NodeId server;
  RequestId id;              ///< of the session, while posted
  Epoch wanted;              ///< waiting: until the view is at least this
  TimePoint again = kNever;  ///< waiting: at the latest
  std::uint32_t attempts = 0;
  std::vector<Run> runs;  ///< keeps its capacity from use to use

  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
};

/// A grow-only slab of requests with a free list: growing allocates, reuse does not.
class RequestTable {
 public:
  std::uint32_t acquire() {
    if (free_.empty()) {
      requests_.push_back(std::make_unique<Request>());
      free_.push_back(static_cast<std::uint32_t>(requests_.size() - 1));
      free_.reserve(requests_.capacity());
    }
    const auto index = free_.back();
    free_.pop_back();
    auto& request = *requests_[index];
    ++request.generation;
    request.stage = Request::Stage::planned;
    request.store = request.by_keys = request.eager = request.repeated = false;
    request.one_sided = false;
    request.early = request.held_back = request.doubtful = request.partly = false;
    request.operation = Request::kNone;
    request.id = RequestId{};
    request.attempts = 0;
    request.runs.clear();
    ++live_;
    return index;
  }
  void release(std::uint32_t index) {
    requests_[index]->stage = Request::Stage::free;
    free_.push_back(index);
    --live_;
  }
  Request& operator[](std::uint32_t index) { return *requests_[index]; }
  std::uint32_t size() const { return static_cast<std::uint32_t>(requests_.size()); }
  std::uint32_t live() const { return live_; }

  /// What a session carries for a request, so that a late answer finds nobody.
  std::uint64_t context(std::uint32_t index) const {
    return (std::uint64_t{requests_[index]->generation} << 32) | index;
  }
  Request* find(std::uint64_t context) {
    const auto index = static_cast<std::uint32_t>(context);
    if (index >= requests_.size()) return nullptr;
    auto& request = *requests_[index];
    const bool same = request.generation == static_cast<std::uint32_t>(context >> 32);
    return same && request.stage != Request::Stage::free ? &request : nullptr;
  }

 private:
  std::vector<std::unique_ptr<Request>> requests_;
  std::vector<std::uint32_t> free_;
  std::uint32_t live_ = 0;
};

}  // namespace shoal
