#pragma once

#include <infiniband/verbs.h>

#include <cstddef>
#include <cstdint>

#include "core/base/result.h"

namespace shoal::verbs {

/// libibverbs, as this backend uses it: functions with the names, arguments and results of the
/// library's own (see their manual pages), found at run time, so that one program starts on
/// machines with and without it. Tests hand in a software adapter instead
/// (tests/verbs/soft_adapter.h).
///
/// Those that return int give 0 or an errno; those that return a pointer give null and set errno.
struct Api {
  ibv_device** (*get_device_list)(int* count) = nullptr;
  void (*free_device_list)(ibv_device** list) = nullptr;
  const char* (*get_device_name)(ibv_device* device) = nullptr;
  ibv_context* (*open_device)(ibv_device* device) = nullptr;
  int (*close_device)(ibv_context* context) = nullptr;
  int (*query_device)(ibv_context* context, ibv_device_attr* attributes) = nullptr;
  /// Null in tests; EOPNOTSUPP if the provider does not know it.
  int (*query_device_ex)(ibv_context* context, ibv_device_attr_ex* attributes) = nullptr;
  int (*query_port)(ibv_context* context, std::uint8_t port, ibv_port_attr* attributes) = nullptr;
  int (*query_gid_ex)(ibv_context* context, std::uint32_t port, std::uint32_t index,
                      ibv_gid_entry* entry) = nullptr;
  int (*get_async_event)(ibv_context* context, ibv_async_event* event) = nullptr;
  void (*ack_async_event)(ibv_async_event* event) = nullptr;

  ibv_pd* (*alloc_pd)(ibv_context* context) = nullptr;
  int (*dealloc_pd)(ibv_pd* pd) = nullptr;
  ibv_mr* (*reg_mr)(ibv_pd* pd, void* address, std::size_t bytes, int access) = nullptr;
  /// Null before rdma-core 34.
  ibv_mr* (*reg_dmabuf_mr)(ibv_pd* pd, std::uint64_t offset, std::size_t bytes, std::uint64_t iova,
                           int fd, int access) = nullptr;
  int (*dereg_mr)(ibv_mr* mr) = nullptr;

  ibv_comp_channel* (*create_comp_channel)(ibv_context* context) = nullptr;
  int (*destroy_comp_channel)(ibv_comp_channel* channel) = nullptr;
  ibv_cq* (*create_cq)(ibv_context* context, int entries, void* user, ibv_comp_channel* channel,
                       int vector) = nullptr;
  int (*destroy_cq)(ibv_cq* cq) = nullptr;
  int (*poll_cq)(ibv_cq* cq, int entries, ibv_wc* completions) = nullptr;
  int (*req_notify_cq)(ibv_cq* cq, int solicited_only) = nullptr;
  int (*get_cq_event)(ibv_comp_channel* channel, ibv_cq** cq, void** user) = nullptr;
  void (*ack_cq_events)(ibv_cq* cq, unsigned count) = nullptr;

  ibv_srq* (*create_srq)(ibv_pd* pd, ibv_srq_init_attr* attributes) = nullptr;
  int (*destroy_srq)(ibv_srq* srq) = nullptr;
  int (*post_srq_recv)(ibv_srq* srq, ibv_recv_wr* first, ibv_recv_wr** bad) = nullptr;

  ibv_qp* (*create_qp)(ibv_pd* pd, ibv_qp_init_attr* attributes) = nullptr;
  int (*modify_qp)(ibv_qp* qp, ibv_qp_attr* attributes, int mask) = nullptr;
  int (*query_qp)(ibv_qp* qp, ibv_qp_attr* attributes, int mask,
                  ibv_qp_init_attr* created) = nullptr;
  int (*destroy_qp)(ibv_qp* qp) = nullptr;
  int (*post_send)(ibv_qp* qp, ibv_send_wr* first, ibv_send_wr** bad) = nullptr;

  const char* (*wc_status_str)(ibv_wc_status status) = nullptr;
};

/// The library of this machine, or a file of the same ABI; it stays loaded until the process ends,
/// since providers keep threads and handlers. Errors: unavailable (not installed, or too old: what
/// is missing, and the Debian package that has it).
Result<Api> load(const char* library = "libibverbs.so.1");

}  // namespace shoal::verbs
