#pragma once

#include <ucp/api/ucp.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/base/result.h"

namespace shoal::ucx {

/// libucp, as this backend uses it: functions with the names, arguments and results of the
/// library's own (see ucp/api/ucp.h), found at run time, so that one program starts on machines
/// with and without it.
struct Api {
  void (*get_version)(unsigned* major, unsigned* minor, unsigned* release) = nullptr;
  ucs_status_t (*config_read)(const char* prefix, const char* file,
                              ucp_config_t** config) = nullptr;
  ucs_status_t (*config_modify)(ucp_config_t* config, const char* name,
                                const char* value) = nullptr;
  void (*config_release)(ucp_config_t* config) = nullptr;
  /// ucp_init() of the header calls it with the header's version.
  ucs_status_t (*init_version)(unsigned major, unsigned minor, const ucp_params_t* parameters,
                               const ucp_config_t* config, ucp_context_h* context) = nullptr;
  void (*cleanup)(ucp_context_h context) = nullptr;
  ucs_status_t (*context_query)(ucp_context_h context, ucp_context_attr_t* attributes) = nullptr;

  ucs_status_t (*worker_create)(ucp_context_h context, const ucp_worker_params_t* parameters,
                                ucp_worker_h* worker) = nullptr;
  void (*worker_destroy)(ucp_worker_h worker) = nullptr;
  ucs_status_t (*worker_get_address)(ucp_worker_h worker, ucp_address_t** address,
                                     std::size_t* bytes) = nullptr;
  void (*worker_release_address)(ucp_worker_h worker, ucp_address_t* address) = nullptr;
  ucs_status_t (*worker_get_efd)(ucp_worker_h worker, int* fd) = nullptr;
  ucs_status_t (*worker_arm)(ucp_worker_h worker) = nullptr;
  unsigned (*worker_progress)(ucp_worker_h worker) = nullptr;
  ucs_status_t (*worker_set_am_recv_handler)(ucp_worker_h worker,
                                             const ucp_am_handler_param_t* parameters) = nullptr;

  ucs_status_t (*ep_create)(ucp_worker_h worker, const ucp_ep_params_t* parameters,
                            ucp_ep_h* ep) = nullptr;
  ucs_status_ptr_t (*ep_close_nbx)(ucp_ep_h ep, const ucp_request_param_t* parameters) = nullptr;
  void (*ep_print_info)(ucp_ep_h ep, FILE* to) = nullptr;

  ucs_status_t (*dt_create_generic)(const ucp_generic_dt_ops_t* operations, void* context,
                                    ucp_datatype_t* type) = nullptr;
  void (*dt_destroy)(ucp_datatype_t type) = nullptr;
  ucs_status_ptr_t (*am_send_nbx)(ucp_ep_h ep, unsigned id, const void* header,
                                  std::size_t header_bytes, const void* buffer, std::size_t count,
                                  const ucp_request_param_t* parameters) = nullptr;
  ucs_status_t (*request_check_status)(void* request) = nullptr;
  void (*request_free)(void* request) = nullptr;

  const char* (*status_string)(ucs_status_t status) = nullptr;
};

/// The library of this machine, or a file of the same ABI; it stays loaded until the process ends,
/// since it keeps threads and handlers. What it reads from the environment while it is loaded is
/// set for so long, unless the user has: call it first while no other thread looks at the
/// environment. Errors: unavailable (not installed, or older than 1.12: what was found, and what to
/// install).
Result<Api> load(const char* library = "libucp.so.0");

/// "1.13.1".
std::string version_of(const Api& api);

}  // namespace shoal::ucx
