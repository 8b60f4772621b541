#include "worker/worker.h"

#include <fmt/core.h>

#include <cstdlib>
#include <cstring>

#include "core/memory/device.h"
#include "core/ops/initializer.h"
#include "worker/engine/worker_core.h"

namespace shoal {

Result<Worker> Worker::connect(const Config& config, Role role) {
  if (role == Role::server)
    return Error{Errc::invalid_argument, "a program joins as a worker or an observer"};
  SHOAL_ASSIGN(auto core, WorkerCore::create(config, role));
  return Worker(std::move(core));
}

Worker::Worker(Worker&&) noexcept = default;
Worker& Worker::operator=(Worker&&) noexcept = default;
Worker::~Worker() = default;

void Worker::tick() {
  core_->engine().tick();
  core_->take_calls();
}
WorkerClock Worker::clock() const { return core_->engine().clock(); }
Rank Worker::rank() const { return core_->joined().rank; }
std::uint32_t Worker::worker_count() const { return core_->engine().roster_size(); }

Status Worker::barrier(std::optional<Duration> timeout) {
  return core_->control_status(FrameKind::barrier, nullptr, {}, timeout);
}

Status Worker::flush(std::optional<Duration> timeout) { return core_->flush(timeout); }
Status Worker::leave() { return core_->leave(); }
void Worker::progress() { core_->progress(); }

Worker::Traffic Worker::traffic() const {
  const auto traffic = core_->engine().traffic();
  return {traffic.bytes_pushed, traffic.bytes_pulled};
}

OneSidedCounts Worker::one_sided() const { return core_->engine().one_sided(); }

std::string Worker::explain() { return core_->explain(); }

Result<const TableShape*> Worker::open_table(const TableSpec& spec) {
  SHOAL_TRY(validate(spec));
  SHOAL_TRY(validate(spec.initializer, spec.dtype));
  std::size_t bytes = 256 + spec.name.size() + spec.update.rule.size();
  for (const auto& [name, value] : spec.update.parameters) bytes += name.size() + 16;
  SHOAL_ASSIGN(const auto id,
               core_->control(FrameKind::open_table, nullptr, encoded(spec, bytes), {}));
  const auto* shape = core_->engine().operation(id).opened;
  core_->drop(id);
  SHOAL_TRY(agrees(shape->spec, spec));
  return shape;
}

Result<RegisteredMemory> Worker::allocate_memory(std::size_t bytes) {
  const auto shared = core_->engine().transport().allocate_shared(bytes);
  if (shared.data != nullptr) {
    const MemoryView view{shared.data, bytes};
    return RegisteredMemory(core_, core_->add_memory(view, true), view, true);
  }
  auto memory = HostDevice().allocate(std::max<std::size_t>(bytes, 1), {.huge_pages = true});
  if (!memory.ok())
    return Error{Errc::no_memory, fmt::format("could not allocate a buffer of {} bytes", bytes)};
  std::memset(memory->data, 0, memory->bytes);
  const MemoryView view{memory->data, bytes};
  return RegisteredMemory(core_, core_->add_memory(view, true), view, true);
}

Result<RegisteredMemory> Worker::register_memory(MemoryView memory) {
  if (memory.data == nullptr || memory.bytes == 0)
    return Error{Errc::invalid_argument, "register_memory of no memory"};
  return RegisteredMemory(core_, core_->add_memory(memory, false), memory, false);
}

RegisteredMemory::~RegisteredMemory() {
  if (core_ != nullptr) core_->remove_memory(record_, owned_);
}

}  // namespace shoal
