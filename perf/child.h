#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "core/base/result.h"

namespace shoal::perf {

/// Short texts between a process and its child, each whole.
class Channel {
 public:
  explicit Channel(int fd) : fd_(fd) {}
  Channel(Channel&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Channel& operator=(Channel&&) = delete;
  ~Channel() { close(); }

  /// Errors: peer_lost, io; invalid_argument beyond kTextMax.
  Status send(std::string_view text);
  /// Waits for the next text. Errors: peer_lost when the other side has ended.
  Result<std::string> receive();
  /// Waits until the other side has closed the channel or ended.
  void wait_for_end();
  /// The other side sees the end; its texts still come.
  void end_sending();
  void close();

  static constexpr std::size_t kTextMax = 16u << 10;

 private:
  int fd_;
};

/// A fork of this process that runs one function. To be started while this process has no threads:
/// a fork has only the thread that called it. It dies with its parent, and the destructor kills it.
class Child {
 public:
  using Body = std::function<Status(Channel&)>;
  /// `name` is for messages. Errors: io.
  static Result<Child> start(std::string name, const Body& body);
  Child(Child&& other) noexcept;
  Child& operator=(Child&&) = delete;
  ~Child();

  Status send(std::string_view text) { return channel_.send(text); }
  /// The next text of the child. Errors: what its body failed with; peer_lost when it has ended.
  Result<std::string> receive();
  /// Says that no more texts come, and waits for its end. Errors: what its body failed with.
  Status finish();
  pid_t pid() const { return pid_; }

 private:
  Child(std::string name, pid_t pid, Channel channel)
      : name_(std::move(name)), pid_(pid), channel_(std::move(channel)) {}
  Error named(const Error& error) const;

  std::string name_;
  pid_t pid_;
  Channel channel_;
};

}  // namespace shoal::perf
