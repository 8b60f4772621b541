#include "transport/ucx/api.h"

#include <dlfcn.h>
#include <fmt/core.h>

#include <array>
#include <cstdlib>
#include <mutex>
#include <tuple>
#include <utility>

namespace shoal::ucx {

namespace {

constexpr unsigned kMajor = 1;
/// The first with active messages whose failed peers end in an error handler over shared memory.
constexpr unsigned kMinorMin = 12;

/// UCX is a guest in this process: it installs no handlers of signals, hooks no allocation, and
/// leaves reporting to us. The library's constructors read it, and nobody after them.
constexpr std::array<std::pair<const char*, const char*>, 5> kEnvironment{{
    {"UCX_HANDLE_ERRORS", "none"},
    {"UCX_DEBUG_SIGNO", "0"},
    {"UCX_LOG_LEVEL", "fatal"},
    {"UCX_WARN_UNUSED_ENV_VARS", "n"},
    {"UCX_MEM_EVENTS", "n"},
}};

/// dlopen() with kEnvironment, where the user has not set it; other users of UCX, and whatever this
/// process starts, do not see it.
void* open_library(const char* library) {
  static std::mutex one_at_a_time;
  const std::lock_guard lock(one_at_a_time);
  if (void* handle = ::dlopen(library, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD)) return handle;
  std::array<bool, kEnvironment.size()> ours{};
  for (std::size_t i = 0; i < ours.size(); ++i) {
    const auto& [name, value] = kEnvironment[i];
    ours[i] = std::getenv(name) == nullptr && ::setenv(name, value, 0) == 0;
  }
  void* handle = ::dlopen(library, RTLD_NOW | RTLD_LOCAL);
  for (std::size_t i = 0; i < ours.size(); ++i)
    if (ours[i]) ::unsetenv(kEnvironment[i].first);
  return handle;
}

Error unavailable(const std::string& why) {
  return {Errc::unavailable,
          fmt::format("{}: the UCX transport needs UCX {}.{} or newer (Debian: libucx0)", why,
                      kMajor, kMinorMin)};
}

}  // namespace

Result<Api> load(const char* library) {
  void* handle = open_library(library);
  if (handle == nullptr) return unavailable(::dlerror());
  std::string missing;
  const auto find = [&]<class Function>(Function*& function, const char* name) {
    function = reinterpret_cast<Function*>(::dlsym(handle, name));
    if (function == nullptr && missing.empty()) missing = name;
  };
  Api api;
  find(api.get_version, "ucp_get_version");
  if (!missing.empty()) return unavailable(fmt::format("{} has no {}", library, missing));
  unsigned major = 0, minor = 0, release = 0;
  api.get_version(&major, &minor, &release);
  if (std::tuple(major, minor) < std::tuple(kMajor, kMinorMin))
    return unavailable(fmt::format("{} is UCX {}.{}.{}", library, major, minor, release));
  find(api.config_read, "ucp_config_read");
  find(api.config_modify, "ucp_config_modify");
  find(api.config_release, "ucp_config_release");
  find(api.init_version, "ucp_init_version");
  find(api.cleanup, "ucp_cleanup");
  find(api.context_query, "ucp_context_query");
  find(api.worker_create, "ucp_worker_create");
  find(api.worker_destroy, "ucp_worker_destroy");
  find(api.worker_get_address, "ucp_worker_get_address");
  find(api.worker_release_address, "ucp_worker_release_address");
  find(api.worker_get_efd, "ucp_worker_get_efd");
  find(api.worker_arm, "ucp_worker_arm");
  find(api.worker_progress, "ucp_worker_progress");
  find(api.worker_set_am_recv_handler, "ucp_worker_set_am_recv_handler");
  find(api.ep_create, "ucp_ep_create");
  find(api.ep_close_nbx, "ucp_ep_close_nbx");
  find(api.ep_print_info, "ucp_ep_print_info");
  find(api.dt_create_generic, "ucp_dt_create_generic");
  find(api.dt_destroy, "ucp_dt_destroy");
  find(api.am_send_nbx, "ucp_am_send_nbx");
  find(api.request_check_status, "ucp_request_check_status");
  find(api.request_free, "ucp_request_free");
  find(api.status_string, "ucs_status_string");
  if (!missing.empty()) return unavailable(fmt::format("{} has no {}", library, missing));
  return api;
}

std::string version_of(const Api& api) {
  unsigned major = 0, minor = 0, release = 0;
  api.get_version(&major, &minor, &release);
  return fmt::format("{}.{}.{}", major, minor, release);
}

}  // namespace shoal::ucx
