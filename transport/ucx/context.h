#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "transport/ucx/api.h"

namespace shoal::ucx {

struct Options {
  /// Which of UCX's transports may be used, as UCX_TLS; empty: the user's UCX_TLS, or else
  /// kTransports of limits.h.
  std::string transports;
  /// The only network devices that may be used, as UCX_NET_DEVICES; an empty list: none, which
  /// leaves shared memory. Nothing: the user's UCX_NET_DEVICES, or else all.
  std::optional<std::string> network_devices = {};
  /// UCX may have a way to other hosts: there are RDMA devices, or the user says which transports.
  bool other_hosts = true;
  /// RDMA devices may be among them: a link pins memory.
  bool pins = false;
  /// For `explain`: the others, and why they are not among them.
  std::vector<std::string> left_out = {};
};

/// Which memory no link moves where UCX was built for `types` (bits of ucs_memory_type_t), and why:
/// "CUDA memory: this UCX was built without it".
std::string memory_left_out(std::uint64_t types);

/// Whether UCX can have a thread and some descriptors: it begins its thread with the first context
/// and, after the last was idle, with a worker, and ends the process with an assertion where that
/// fails. To be asked ahead of both. Errors: unavailable (which limit to raise).
Status try_thread_and_descriptors();

/// Whether one more link leaves half of the process's descriptors to its own sockets and files.
/// Errors: unavailable (which limit to raise).
Status check_descriptor_share();

/// Whether this process may pin what one more link over RDMA devices pins. Errors: unavailable
/// (which limit to raise).
Status check_pins();

/// UCX in this process: what links are made from.
class Context {
 public:
  /// `api` outlives it. Errors: unavailable.
  static Result<std::unique_ptr<Context>> create(const Api& api, const Options& options);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  const Api& api() const { return api_; }
  ucp_context_h get() const { return context_; }
  /// The kinds of memory (bits of ucs_memory_type_t) that this UCX was built to move.
  std::uint64_t memory_types() const;
  /// As Options'.
  const std::vector<std::string>& left_out() const { return left_out_; }

 private:
  Context(const Api& api, ucp_context_h context) : api_(api), context_(context) {}

  const Api& api_;
  ucp_context_h context_;
  std::vector<std::string> left_out_;
};

}  // namespace shoal::ucx
