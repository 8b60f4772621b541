// What a trace is told of operations and their requests. See docs/tuning.md.

#include "core/trace/trace.h"
#include "worker/engine/engine.h"

namespace shoal {

namespace {

const char* traced_name(const Operation& op) {
  switch (op.kind) {
    case OperationKind::push:
      return op.store ? "store" : "push";
    case OperationKind::pull:
      return "pull";
    case OperationKind::push_pull:
      return "push_pull";
    case OperationKind::flush:
      return "flush";
    case OperationKind::explain:
      return "explain";
    case OperationKind::control:
      break;
  }
  switch (op.control) {
    case FrameKind::barrier:
      return "barrier";
    case FrameKind::open_table:
      return "open table";
    case FrameKind::drop_table:
      return "drop table";
    case FrameKind::set_parameter:
      return "set parameter";
    case FrameKind::leave:
      return "leave";
    default:
      return "call to the scheduler";
  }
}

const char* traced_name(const Request& request) {
  if (request.kind == Request::Kind::burn) return "burn";
  if (request.kind == Request::Kind::pull) return "pull";
  return request.store ? "store" : "push";
}

std::uint64_t number_of(OperationId id) { return std::uint64_t{id.generation} << 32 | id.index; }

}  // namespace

void Engine::note_polled(OperationId id) {
  auto& op = operation(id);
  if (options_.trace != nullptr && op.times.polled == TimePoint{})
    op.times.polled = options_.trace->now();
}

TraceRecord Engine::trace_record(const Request& request) {
  TraceRecord record;
  record.name = traced_name(request);
  if (request.operation != Request::kNone) record.operation = number_of(id_of(request.operation));
  record.request = request.id;
  record.peer = request.server;
  record.table = request.table;
  return record;
}

void Engine::trace_posted(const Request& request, TimePoint began) {
  if (options_.trace == nullptr) return;
  auto record = trace_record(request);
  record.what = TraceRecord::What::send;
  record.times[0] = began;
  record.times[1] = options_.trace->now();
  options_.trace->record(record);
  if (request.operation == Request::kNone) return;
  auto& op = operations_[request.operation];
  if (op.times.sent == TimePoint{}) op.times.sent = began;
}

/// Of an operation that is done, by whoever frees its place.
void Engine::trace_life(OperationId id, const Operation& op) {
  TraceRecord record;
  record.what = TraceRecord::What::operation;
  record.status = op.code;
  record.name = traced_name(op);
  record.times[0] = op.times.issued;
  record.times[1] = op.times.sent;
  record.times[2] = op.times.answered;
  record.times[3] = op.times.polled;
  record.operation = number_of(id);
  if (op.table != nullptr) record.table = op.table->id;
  record.bytes = op.source.bytes + op.target.bytes;
  options_.trace->record(record);
}

}  // namespace shoal
