// Pulls that READ segments by themselves, and how they become requests. See
// docs/design/one_sided.md.

#include <fmt/core.h>

#include <algorithm>

#include "core/base/log.h"
#include "worker/engine/engine.h"
#include "worker/engine/peers.h"

namespace shoal {

namespace {

bool is_eligible(const Operation& op) {
  const auto& spec = op.table->spec;
  return op.kind == OperationKind::pull && !op.by_keys && spec.layout == Layout::dense &&
         spec.apply_mode() == Apply::on_arrival && spec.staleness == unbounded;
}

}  // namespace

/// False: the request has to be posted, as any other.
bool Engine::start_reading(std::uint32_t index, Server& server) {
  auto& request = requests_[index];
  request.one_sided = false;
  const auto why = why_not_read(request, server);
  if (why != Fallback::none) {
    reads_.count_fallback(why);
    return false;
  }
  auto* share = reads_.take();
  if (share == nullptr) {
    reads_.count_fallback(Fallback::busy);
    return false;
  }
  auto& op = operations_[request.operation];
  attach_target(op);
  const auto& table = *find_table(request.table);
  share->request = index;
  share->clock = applied_clock_;
  share->reader.start(*share->lines, table.shape.geometry, op.target);
  for (const auto& run : request.runs)
    share->reader.add(run, table.directories[run.slot.value].entries);
  if (options_.faults.read_unchecked) share->reader.skip_check();
  request.stage = Request::Stage::reading;
  request.share = share->index;
  pump(*share, server);
  return true;
}

/// Asks for what is missing, so that a later pull finds it.
Fallback Engine::why_not_read(const Request& request, Server& server) {
  const auto& op = operations_[request.operation];
  if (!is_eligible(op)) return Fallback::not_eligible;
  // Servers answer nobody either who may have been given up by the scheduler: the slots may have
  // gone to another.
  if (!server.session->open() || !transport_.one_sided(server.session->endpoint()) ||
      !link_.in_touch(now_))
    return Fallback::no_path;
  auto& table = *find_table(request.table);
  for (const auto& run : request.runs) {
    const auto& directory = table.directories[run.slot.value];
    const auto since = table.chain(run.slot).since.packed();
    if (directory.entries.bytes != 0 && directory.since == since) continue;
    ask_for_directory(table, server, run.slot);
    return Fallback::no_directory;
  }
  return has_own_push(table, request) ? Fallback::own_push : Fallback::none;
}

/// Read your writes: what has not ended may not be there yet.
bool Engine::has_own_push(const Table& table, const Request& request) {
  if (table.pushes == 0) return false;
  const auto shares_slot = [&](const Run& run) {
    return std::any_of(request.runs.begin(), request.runs.end(),
                       [&](const Run& other) { return other.slot == run.slot; });
  };
  for (std::uint32_t i = 0; i < requests_.size(); ++i) {
    const auto& other = requests_[i];
    if (other.stage == Request::Stage::free || other.kind == Request::Kind::pull ||
        other.table != request.table)
      continue;
    if (std::any_of(other.runs.begin(), other.runs.end(), shares_slot)) return true;
  }
  return false;
}

/// Memory of many operations is attached once; what cannot be is copied on its way.
void Engine::attach_target(Operation& op) {
  auto* record = op.target_memory;
  if (record == nullptr || std::exchange(record->attach_tried, true)) return;
  auto attached = Attachment::create(transport_, record->memory);
  if (attached.ok()) record->attachment = std::move(attached).value();
}

/// Posts what may be posted, and ends the share when nothing is left to READ.
void Engine::pump(ShareReader& share, Server& server) {
  SegmentReader::Read read;
  while (share.reader.next(read)) {
    const auto posted =
        transport_.read(server.session->endpoint(), read.to, read.from, share.context());
    if (posted.ok()) {
      share.reader.posted();
      read_posted_ = true;
      continue;
    }
    if (posted.code() == Errc::overloaded && share.reader.under_way() > 0) return;
    share.reader.abandon(posted.code() == Errc::overloaded ? Fallback::busy : Fallback::broken);
  }
  if (share.reader.done()) end_reading(share.request);
}

void Engine::on_read_done(Server& server, const Event& event) {
  auto* share = reads_.find(event.context);
  if (share == nullptr) return;
  share->reader.ended(event.status);
  pump(*share, server);
}

/// What could not be READ is asked for.
void Engine::end_reading(std::uint32_t index) {
  auto& request = requests_[index];
  auto& share = reads_[request.share];
  auto& reader = share.reader;
  auto& op = operations_[request.operation];
  const auto left = reader.left();
  reads_.count_retries(reader.retries());
  if (reader.failed()) forget_directories(request);
  if (reader.rows_read() != 0) {
    op.completion.oldest = std::min(op.completion.oldest, share.clock);
    op.completion.newest = std::max(op.completion.newest, share.clock);
    bytes_pulled_.fetch_add(reader.rows_read() * op.table->row_bytes, std::memory_order_relaxed);
  }
  request.runs.assign(left.begin(), left.end());
  const auto why = reader.why();
  reads_.give(share);
  request.stage = Request::Stage::planned;
  if (request.runs.empty()) {
    reads_.count_read();
    return end_request(index);
  }
  if (op.stage == Operation::Stage::letting_go) {
    op.incomplete = true;
    return end_request(index);
  }
  reads_.count_fallback(why);
  post(index);
}

/// The connection is gone, and with it every loan on it.
void Engine::lose_reading(std::uint32_t index) {
  auto& request = requests_[index];
  auto& share = reads_[request.share];
  share.reader.lose();
  reads_.give(share);
  request.stage = Request::Stage::planned;
  auto& op = operations_[request.operation];
  if (op.stage == Operation::Stage::letting_go) {
    op.incomplete = true;
    return end_request(index);
  }
  reads_.count_fallback(Fallback::broken);
  wait_and_post_again(index, Epoch{}, Duration::zero());
}

/// The operation lets go: no more READs, and the last of those under way ends the loan.
void Engine::let_go_reading(std::uint32_t index) {
  auto& reader = reads_[requests_[index].share].reader;
  reader.abandon(Fallback::none);
  if (reader.done()) end_reading(index);
}

// ---- Where segments are.

void Engine::ask_for_directory(Table& table, Server& server, SlotIndex slot) {
  const auto known = std::find_if(table.asked.begin(), table.asked.end(),
                                  [&](const auto& asked) { return asked.server == server.id; });
  if (known != table.asked.end()) return;
  FrameHeader header;
  header.kind = FrameKind::directory;
  header.epoch = seen_view_->epoch.packed();
  header.table = table.shape.id;
  const DirectoryMeta meta{.first = slot};
  // Contexts of Requests have a generation above these 32 bits.
  const auto sent =
      server.session->request(header, std::as_bytes(std::span(&meta, 1)), {}, table.shape.id.value);
  if (sent.ok()) table.asked.push_back({server.id});
}

void Engine::on_directory(Server& server, TableId id, const FrameView& frame) {
  auto* table = find_table(id);
  if (table == nullptr || table->info == nullptr) return;
  const auto code = static_cast<Errc>(frame.header.status);
  if (code != Errc::ok) return on_no_directory(server, *table, code, frame);
  std::erase_if(table->asked, [&](const auto& asked) { return asked.server == server.id; });
  const auto read = for_each_directory_slot(frame.payload, [&](const DirectorySlot& told) {
    if (told.slot.value >= table->directories.size()) return;
    const auto& span = told.entries;
    table->directories[told.slot.value] = {{span.region, span.address, span.bytes}, told.since};
  });
  if (read.ok()) return;
  server.session->break_connection();
  on_broken(server);
}

/// A refusal for good is not asked again, until there is another view.
void Engine::on_no_directory(Server& server, Table& table, Errc code, const FrameView& frame) {
  if (code == Errc::unavailable) {
    const auto answer = parse_answer(frame);
    const auto why = answer.ok() ? answer->rest : std::span<const std::byte>{};
    log_info("worker", "table '{}' cannot be pulled from one-sidedly at {}: {}",
             table.shape.spec.name, server.who,
             std::string_view(reinterpret_cast<const char*>(why.data()), why.size()));
    return;
  }
  if (code == Errc::stale_view) link_.want_view(Epoch::unpacked(frame.header.epoch));
  std::erase_if(table.asked, [&](const auto& asked) { return asked.server == server.id; });
}

/// A READ failed: the slots may have gone, or the connection does not know their regions yet.
void Engine::forget_directories(const Request& request) {
  auto* table = find_table(request.table);
  if (table == nullptr || table->info == nullptr) return;
  for (const auto& run : request.runs) table->directories[run.slot.value] = {};
}

}  // namespace shoal
