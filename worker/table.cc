#include "worker/table.h"

#include <fmt/core.h>

#include "worker/engine/worker_core.h"

namespace shoal {

namespace {

/// The bytes that `rows` of a table take, against what the caller gave.
Status check(const TableShape& shape, std::string_view verb, bool by_keys, RowRange range,
             std::span<const Key> keys, std::size_t row_bytes, std::size_t bytes,
             std::size_t value_bytes) {
  const auto& spec = shape.spec;
  if (!by_keys) {
    if (spec.layout == Layout::sparse)
      return Error{
          Errc::invalid_argument,
          fmt::format("table '{}' is sparse: name its rows by keys, not by a range", spec.name)};
    if (range.begin >= range.end || range.end > spec.rows)
      return Error{Errc::out_of_range,
                   fmt::format("{} of rows [{}, {}): table '{}' has rows [0, {})", verb,
                               range.begin, range.end, spec.name, spec.rows)};
  } else if (spec.apply_mode() == Apply::collective && verb != "pull") {
    return Error{
        Errc::invalid_argument,
        fmt::format("table '{}' is collective: push ranges of rows, not key lists", spec.name)};
  }
  constexpr std::size_t kKeysMax = std::size_t{1} << 31;
  if (keys.size() > kKeysMax)
    return Error{Errc::out_of_range,
                 fmt::format("{} keys in one call; at most {}", keys.size(), kKeysMax)};
  const auto rows = by_keys ? keys.size() : range.size();
  if (bytes != rows * row_bytes)
    return Error{Errc::mismatch,
                 fmt::format("{} of {} rows of table '{}' takes {} values ({} a row), and {} were "
                             "given",
                             verb, rows, spec.name, rows * row_bytes / value_bytes,
                             row_bytes / value_bytes, bytes / value_bytes)};
  return {};
}

}  // namespace

const TableSpec& TableHandle::spec() const {
  SHOAL_ASSERT(shape_ != nullptr, "spec() of a Table that was never opened");
  return shape_->spec;
}

TableId TableHandle::id() const {
  SHOAL_ASSERT(shape_ != nullptr, "id() of a Table that was never opened");
  return shape_->id;
}

Status TableHandle::opened() const {
  if (shape_ != nullptr) return {};
  return Error{Errc::invalid_argument,
               "this Table was never opened: Worker::create_or_open gives one"};
}

Status TableHandle::set_parameter(std::string_view name, double value,
                                  std::optional<WorkerClock> from_clock) {
  SHOAL_TRY(opened());
  std::vector<std::byte> meta(name.size() + 32);
  Writer out(meta);
  encode(out, SetParameter{std::string(name), value, from_clock.value_or(WorkerClock(-1))});
  meta.resize(out.size());
  return core_->control_status(FrameKind::set_parameter, shape_, std::move(meta), {});
}

Status TableHandle::drop() {
  SHOAL_TRY(opened());
  return core_->control_status(FrameKind::drop_table, shape_, {}, {});
}

Result<Ticket> TableHandle::issue_push(const Rows& rows, const Memory& from, bool store,
                                       const PushOptions& options) {
  SHOAL_TRY(opened());
  SHOAL_TRY(check(*shape_, store ? "store" : "push", rows.by_keys, rows.range, rows.keys,
                  store ? shape_->row_bytes : shape_->push_bytes, from.view.bytes,
                  byte_size(shape_->spec.dtype)));
  Engine::Ask ask;
  ask.kind = OperationKind::push;
  ask.table = shape_;
  ask.by_keys = rows.by_keys;
  ask.store = store;
  ask.rows = rows.range;
  ask.keys = rows.keys;
  ask.source = from.view;
  ask.source_memory = from.record;
  return core_->issue(std::move(ask), options.after, options.timeout, from.borrowed || rows.by_keys,
                      false);
}

Result<Ticket> TableHandle::issue_pull(const Rows& rows, const Memory& to,
                                       const PullOptions& options) {
  SHOAL_TRY(opened());
  SHOAL_TRY(check(*shape_, "pull", rows.by_keys, rows.range, rows.keys, shape_->row_bytes,
                  to.view.bytes, byte_size(shape_->spec.dtype)));
  Engine::Ask ask;
  ask.kind = OperationKind::pull;
  ask.table = shape_;
  ask.by_keys = rows.by_keys;
  ask.rows = rows.range;
  ask.keys = rows.keys;
  ask.target = to.view;
  ask.target_memory = to.record;
  ask.ahead = options.ahead;
  ask.one_sided = options.one_sided;
  return core_->issue(std::move(ask), options.after, options.timeout, to.borrowed || rows.by_keys,
                      true);
}

Result<Ticket> TableHandle::issue_push_pull(RowRange rows, const Memory& from, const Memory& to,
                                            const PullOptions& options) {
  SHOAL_TRY(opened());
  const auto value_bytes = byte_size(shape_->spec.dtype);
  SHOAL_TRY(
      check(*shape_, "push", false, rows, {}, shape_->push_bytes, from.view.bytes, value_bytes));
  SHOAL_TRY(check(*shape_, "pull", false, rows, {}, shape_->row_bytes, to.view.bytes, value_bytes));
  Engine::Ask ask;
  ask.kind = OperationKind::push_pull;
  ask.table = shape_;
  ask.rows = rows;
  ask.source = from.view;
  ask.source_memory = from.record;
  ask.target = to.view;
  ask.target_memory = to.record;
  ask.ahead = options.ahead;
  return core_->issue(std::move(ask), options.after, options.timeout, from.borrowed || to.borrowed,
                      true);
}

Ticket TableHandle::or_failed(Result<Ticket> ticket, bool pushes) const {
  if (ticket.ok()) return std::move(ticket).value();
  return Ticket(std::move(ticket).error(), pushes ? core_ : nullptr);
}

}  // namespace shoal
