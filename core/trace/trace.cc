#include "core/trace/trace.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "core/base/log.h"
#include "core/base/output_path.h"

namespace shoal {

namespace {

/// Lines that are written at once; what one record becomes is far less.
constexpr std::size_t kWriteBytes = std::size_t{256} << 10;
/// Names of threads that are remembered. Beyond these a thread is shown by its number.
constexpr std::size_t kThreadsMax = 1024;
/// Traces of one name in one process.
constexpr int kFilesMax = 1000;

std::uint32_t this_thread() {
  thread_local const auto id = static_cast<std::uint32_t>(::gettid());
  return id;
}

std::string file_name(const std::string& file, std::string_view who, int number) {
  constexpr std::string_view kExtension = ".json";
  std::string name = file;
  if (name.ends_with(kExtension)) name.resize(name.size() - kExtension.size());
  name += '.';
  for (const char c : who) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    name += plain || c == '_' || c == '-' ? c : '-';
  }
  name += fmt::format(".{}", ::getpid());
  if (number > 1) name += fmt::format("-{}", number);
  return name.append(kExtension);
}

Error cannot_write(const std::string& file, const std::string& path, int error) {
  return {Errc::io,
          fmt::format("trace = '{}' (--trace, SHOAL_TRACE): cannot make {}, the file of this "
                      "process: give a path in a directory that is there and may be written",
                      file, path),
          error};
}

/// Its files would lie beside it, under its name.
bool is_directory(const std::string& file) {
  std::error_code unknown;
  return std::filesystem::is_directory(file, unknown);
}

}  // namespace

Result<std::unique_ptr<Trace>> Trace::open(const std::string& file, std::string_view who,
                                           const Clock& clock, Options options) {
  if (is_directory(file)) return cannot_write(file, file, EISDIR);
  for (int number = 1; number <= kFilesMax; ++number) {
    auto path = file_name(file, who, number);
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0 && errno == EEXIST) continue;
    if (fd < 0) return cannot_write(file, path, errno);
    if (::write(fd, "[\n", 2) != 2) {
      const int error = errno;
      ::close(fd);
      return cannot_write(file, path, error);
    }
    std::unique_ptr<Trace> trace(new Trace(fd, std::move(path), std::string(who), clock, options));
    try {
      trace->thread_ = std::thread([self = trace.get()] { self->run(); });
    } catch (const std::system_error& e) {
      return Error{Errc::io, "start of the thread that writes a trace", e.code().value()};
    }
    return trace;
  }
  return cannot_write(file, file_name(file, who, kFilesMax), EEXIST);
}

Status Trace::check(const std::string& file) {
  if (is_directory(file)) return cannot_write(file, file, EISDIR);
  const auto path = file_name(file, "check", 1);
  if (const auto can = check_output(path); !can.ok())
    return cannot_write(file, path, can.error().native);
  return {};
}

Trace::Trace(int fd, std::string path, std::string who, const Clock& clock, const Options& options)
    : fd_(fd),
      path_(std::move(path)),
      who_(std::move(who)),
      clock_(clock),
      interval_(options.interval),
      records_(options.records_max) {}

Trace::~Trace() {
  if (thread_.joinable()) {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    stopped_.notify_all();
    thread_.join();
  }
  ::close(fd_);
  if (dropped() != 0)
    log_warn("trace", "{} lacks {} of {} records", path_, dropped(), recorded_ + dropped());
}

void Trace::name_table(TableId table, std::string_view name) {
  const std::lock_guard lock(mutex_);
  names_.tables[table] = trace_text(name);
}

void Trace::record(TraceRecord record) {
  record.thread = this_thread();
  if (!records_.push(record)) dropped_.fetch_add(1, std::memory_order_relaxed);
}

// ---- The thread.

void Trace::run() {
  ::pthread_setname_np(::pthread_self(), "shoal-trace");
  // Of this thread alone, on Linux. Whoever may not be so modest traces all the same.
  (void)::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), 19);
  std::unique_lock lock(mutex_);
  while (!stopped_.wait_for(lock, interval_, [this] { return stop_; })) {
    lock.unlock();
    drain();
    lock.lock();
  }
  lock.unlock();
  drain();
  name_process();
  append_end(lines_, names_.self, clock_.now(), recorded_, dropped());
  write();
}

void Trace::drain() {
  TraceRecord record;
  while (records_.pop(record)) {
    ++recorded_;
    name_process();
    name_thread(record.thread);
    {
      const std::lock_guard lock(mutex_);
      append_record(lines_, record, names_);
    }
    if (lines_.size() >= kWriteBytes) write();
  }
  if (const auto count = dropped(); count != told_dropped_) {
    name_process();
    append_dropped(lines_, names_.self, clock_.now(), count - told_dropped_);
    told_dropped_ = count;
  }
  write();
}

/// Not before there is something to tell: until then the node may not know its number.
void Trace::name_process() {
  const NodeId self(self_.load(std::memory_order_relaxed));
  if (std::exchange(named_, true) && names_.self == self) return;
  names_.self = self;
  threads_.clear();
  append_process_name(lines_, self, trace_text(fmt::format("{} (pid {})", who_, ::getpid())));
}

void Trace::name_thread(std::uint32_t thread) {
  if (threads_.contains(thread) || threads_.size() == kThreadsMax) return;
  threads_.insert(thread);
  std::string name;
  std::getline(std::ifstream(fmt::format("/proc/self/task/{}/comm", thread)), name);
  if (!name.empty()) append_thread_name(lines_, names_.self, thread, trace_text(name));
}

void Trace::write() {
  std::string_view left = failed_ ? std::string_view() : lines_;
  while (!left.empty()) {
    const auto count = ::write(fd_, left.data(), left.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      log_warn("trace", "{}",
               Error{Errc::io, "cannot write " + path_ + ", which ends here", errno}.message());
      failed_ = true;
      break;
    }
    left.remove_prefix(static_cast<std::size_t>(count));
  }
  lines_.clear();
}

}  // namespace shoal
