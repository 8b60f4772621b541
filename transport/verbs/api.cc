#include "transport/verbs/api.h"

#include <dlfcn.h>
#include <fmt/core.h>

#include <atomic>
#include <cerrno>
#include <string>

namespace shoal::verbs {

namespace {

// What the header makes calls of its own from, beside the library's functions: a port's attributes
// through the provider's table where it has an entry for the whole structure, completions and work
// requests always through it.

// The same for all that load the library; several threads may.
using QueryPort = int(ibv_context*, std::uint8_t, _compat_ibv_port_attr*);
using QueryGid = int(ibv_context*, std::uint32_t, std::uint32_t, ibv_gid_entry*, std::uint32_t,
                     std::size_t);
std::atomic<QueryPort*> query_port_compatibly = nullptr;
std::atomic<QueryGid*> query_gid_entry = nullptr;

int query_device_ex(ibv_context* context, ibv_device_attr_ex* attributes) {
  *attributes = {};
  auto* provider = verbs_get_ctx_op(context, query_device_ex);
  if (provider == nullptr) return EOPNOTSUPP;
  return provider->query_device_ex(context, nullptr, attributes, sizeof *attributes);
}

int query_port(ibv_context* context, std::uint8_t port, ibv_port_attr* attributes) {
  *attributes = {};
  if (auto* provider = verbs_get_ctx_op(context, query_port))
    return provider->query_port(context, port, attributes, sizeof *attributes);
  return query_port_compatibly.load()(context, port,
                                      reinterpret_cast<_compat_ibv_port_attr*>(attributes));
}

int query_gid_ex(ibv_context* context, std::uint32_t port, std::uint32_t index,
                 ibv_gid_entry* entry) {
  return query_gid_entry.load()(context, port, index, entry, 0, sizeof *entry);
}

int poll_cq(ibv_cq* cq, int entries, ibv_wc* completions) {
  return cq->context->ops.poll_cq(cq, entries, completions);
}
int req_notify_cq(ibv_cq* cq, int solicited_only) {
  return cq->context->ops.req_notify_cq(cq, solicited_only);
}
int post_srq_recv(ibv_srq* srq, ibv_recv_wr* first, ibv_recv_wr** bad) {
  return srq->context->ops.post_srq_recv(srq, first, bad);
}
int post_send(ibv_qp* qp, ibv_send_wr* first, ibv_send_wr** bad) {
  return qp->context->ops.post_send(qp, first, bad);
}

Error unavailable(const std::string& why) {
  return {Errc::unavailable,
          fmt::format("{}: RDMA needs rdma-core 28 or newer (Debian: libibverbs1 and "
                      "ibverbs-providers)",
                      why)};
}

}  // namespace

Result<Api> load(const char* library) {
  void* handle = ::dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return unavailable(::dlerror());
  std::string missing;
  const auto find = [&]<class Function>(Function*& function, const char* name) {
    function = reinterpret_cast<Function*>(::dlsym(handle, name));
    if (function == nullptr && missing.empty()) missing = name;
  };
  Api api{.query_device_ex = &query_device_ex,
          .query_port = &query_port,
          .query_gid_ex = &query_gid_ex,
          .poll_cq = &poll_cq,
          .req_notify_cq = &req_notify_cq,
          .post_srq_recv = &post_srq_recv,
          .post_send = &post_send};
  QueryPort* found_query_port = nullptr;
  QueryGid* found_query_gid = nullptr;
  find(found_query_port, "ibv_query_port");
  find(found_query_gid, "_ibv_query_gid_ex");
  find(api.get_device_list, "ibv_get_device_list");
  find(api.free_device_list, "ibv_free_device_list");
  find(api.get_device_name, "ibv_get_device_name");
  find(api.open_device, "ibv_open_device");
  find(api.close_device, "ibv_close_device");
  find(api.query_device, "ibv_query_device");
  find(api.get_async_event, "ibv_get_async_event");
  find(api.ack_async_event, "ibv_ack_async_event");
  find(api.alloc_pd, "ibv_alloc_pd");
  find(api.dealloc_pd, "ibv_dealloc_pd");
  find(api.reg_mr, "ibv_reg_mr");
  find(api.dereg_mr, "ibv_dereg_mr");
  find(api.create_comp_channel, "ibv_create_comp_channel");
  find(api.destroy_comp_channel, "ibv_destroy_comp_channel");
  find(api.create_cq, "ibv_create_cq");
  find(api.destroy_cq, "ibv_destroy_cq");
  find(api.get_cq_event, "ibv_get_cq_event");
  find(api.ack_cq_events, "ibv_ack_cq_events");
  find(api.create_srq, "ibv_create_srq");
  find(api.destroy_srq, "ibv_destroy_srq");
  find(api.create_qp, "ibv_create_qp");
  find(api.modify_qp, "ibv_modify_qp");
  find(api.query_qp, "ibv_query_qp");
  find(api.destroy_qp, "ibv_destroy_qp");
  find(api.wc_status_str, "ibv_wc_status_str");
  if (!missing.empty()) return unavailable(fmt::format("{} has no {}", library, missing));
  find(api.reg_dmabuf_mr, "ibv_reg_dmabuf_mr");
  // Not before all is there: an earlier table may be in use.
  query_port_compatibly = found_query_port;
  query_gid_entry = found_query_gid;
  return api;
}

}  // namespace shoal::verbs
