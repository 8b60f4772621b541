#include "examples/sparse_lr/temporary_file.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

namespace shoal::sparse_lr {
namespace {

constexpr int kNamesMax = 1000;  // tried before a directory is given up

/// A name for the signal handler, which may only read memory and call unlink(2).
struct Slot {
  enum State { vacant, taken, removable };
  std::atomic<int> state{vacant};
  char name[PATH_MAX] = {};
};
static_assert(std::atomic<int>::is_always_lock_free, "the signal handler reads it");

/// More than are open at any time: one is written after the other.
std::array<Slot, 4> slots;

int take_slot(const std::string& name) {
  if (name.size() >= sizeof Slot::name) return -1;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    int vacant = Slot::vacant;
    if (!slots[i].state.compare_exchange_strong(vacant, Slot::taken)) continue;
    std::memcpy(slots[i].name, name.c_str(), name.size() + 1);
    slots[i].state.store(Slot::removable);
    return static_cast<int>(i);
  }
  return -1;
}

void leave_slot(int slot) {
  if (slot >= 0) slots[static_cast<std::size_t>(slot)].state.store(Slot::vacant);
}

void remove_and_end(int signal) {
  for (auto& slot : slots)
    if (slot.state.load() == Slot::removable) ::unlink(slot.name);
  ::signal(signal, SIG_DFL);
  ::raise(signal);  // arrives when this handler returns
}

}  // namespace

Result<TemporaryFile> TemporaryFile::create(const std::string& directory) {
  for (int i = 0; i < kNamesMax; ++i) {
    auto name = directory + "/.sparse_lr-" + std::to_string(::getpid()) + '-' + std::to_string(i);
    // Before the file is there, so that no signal comes between; the name is our process's own.
    const int slot = take_slot(name);
    const int descriptor = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor >= 0) return TemporaryFile(std::move(name), descriptor, slot);
    leave_slot(slot);
    if (errno != EEXIST) break;
  }
  return Error{Errc::io, "cannot make a file in " + directory, errno};
}

TemporaryFile::TemporaryFile(TemporaryFile&& other) noexcept
    : name_(std::exchange(other.name_, {})),
      descriptor_(std::exchange(other.descriptor_, -1)),
      slot_(std::exchange(other.slot_, -1)) {}

TemporaryFile::~TemporaryFile() {
  if (!name_.empty()) ::unlink(name_.c_str());
  leave_slot(slot_);
  if (descriptor_ >= 0) ::close(descriptor_);
}

Status TemporaryFile::replace(const std::string& path) {
  // Some file systems find out only now that there is no room.
  if (::fsync(descriptor_) != 0 || ::rename(name_.c_str(), path.c_str()) != 0)
    return Error{Errc::io, "cannot write " + path, errno};
  name_.clear();
  return {};
}

void remove_temporary_files_on_signals() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action {};
    if (::sigaction(signal, nullptr, &action) != 0 || action.sa_handler == SIG_IGN) continue;
    action = {};
    action.sa_handler = remove_and_end;
    ::sigaction(signal, &action, nullptr);
  }
}

bool write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const auto written = ::write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

}  // namespace shoal::sparse_lr
