#include <fmt/core.h>

#include "group/local/nccl.h"

#ifdef SHOAL_HAS_NCCL
#include <dlfcn.h>
#include <nccl.h>

#include <cstring>
#include <string>
#endif

namespace shoal::local {

#ifdef SHOAL_HAS_NCCL

namespace {

/// The first with communicators that begin without blocking.
constexpr int kVersionMin = NCCL_VERSION(2, 14, 3);

/// What ncclConfig_t was in 2.14: all versions take it, by its size, and later ones, unlike the
/// header's newest, are not read by earlier libraries beyond their end.
struct Config {
  std::size_t size = sizeof(Config);
  unsigned magic = 0xcafebeef;
  unsigned version = NCCL_VERSION(2, 14, 0);
  int blocking = 0;
};
static_assert(offsetof(Config, blocking) == offsetof(ncclConfig_t, blocking));
static_assert(sizeof(Nccl::Id) == sizeof(ncclUniqueId));

ncclDataType_t type_of(DType type) {
  switch (type) {
    case DType::f32:
      return ncclFloat32;
    case DType::f64:
      return ncclFloat64;
    case DType::f16:
      return ncclFloat16;
    case DType::bf16:
      return ncclBfloat16;
    case DType::i32:
      return ncclInt32;
    case DType::i64:
      return ncclInt64;
  }
  return ncclInt8;
}

ncclRedOp_t operation_of(Aggregate aggregate) {
  switch (aggregate) {
    case Aggregate::min:
      return ncclMin;
    case Aggregate::max:
      return ncclMax;
    default:
      return ncclSum;
  }
}

struct Functions {
  decltype(&ncclGetVersion) get_version = nullptr;
  decltype(&ncclGetUniqueId) get_unique_id = nullptr;
  decltype(&ncclCommInitRankConfig) init = nullptr;
  decltype(&ncclCommGetAsyncError) get_async_error = nullptr;
  decltype(&ncclGroupStart) group_start = nullptr;
  decltype(&ncclGroupEnd) group_end = nullptr;
  decltype(&ncclReduceScatter) reduce_scatter = nullptr;
  decltype(&ncclReduce) reduce = nullptr;
  decltype(&ncclAllGather) all_gather = nullptr;
  decltype(&ncclBroadcast) broadcast = nullptr;
  decltype(&ncclCommFinalize) finalize = nullptr;
  decltype(&ncclCommDestroy) destroy = nullptr;
  decltype(&ncclCommAbort) abort = nullptr;
  decltype(&ncclGetErrorString) get_error_string = nullptr;
  decltype(&ncclGetLastError) get_last_error = nullptr;
};

class LoadedNccl final : public Nccl {
 public:
  LoadedNccl(const Functions& functions, int version) : functions_(functions), version_(version) {}

  int version() const override { return version_; }
  Result<Id> make_id() override {
    ncclUniqueId made{};
    SHOAL_TRY(status("ncclGetUniqueId", nullptr, functions_.get_unique_id(&made)));
    Id id;
    std::memcpy(id.data(), &made, sizeof made);
    return id;
  }
  Result<Communicator> begin(const Id& id, std::uint32_t size, std::uint32_t rank) override {
    ncclUniqueId of{};
    std::memcpy(&of, id.data(), sizeof of);
    Config config;
    ncclComm_t made = nullptr;
    auto begun = status("ncclCommInitRankConfig", nullptr,
                        functions_.init(&made, static_cast<int>(size), of, static_cast<int>(rank),
                                        reinterpret_cast<ncclConfig_t*>(&config)));
    if (begun.ok()) return Communicator(made);
    if (made != nullptr) (void)functions_.abort(made);
    return std::move(begun).error();
  }
  Result<bool> ready(Communicator communicator) override {
    auto state = ncclSuccess;
    auto* of = static_cast<ncclComm_t>(communicator);
    SHOAL_TRY(status("ncclCommGetAsyncError", of, functions_.get_async_error(of, &state)));
    if (state == ncclInProgress) return false;
    SHOAL_TRY(status("NCCL", of, state));
    return true;
  }

  Status group_start() override {
    return status("ncclGroupStart", nullptr, functions_.group_start());
  }
  Status group_end() override { return status("ncclGroupEnd", nullptr, functions_.group_end()); }
  Status reduce_scatter(Communicator communicator, const void* in, void* out, std::size_t count,
                        DType type, Aggregate aggregate, Stream stream) override {
    auto* of = static_cast<ncclComm_t>(communicator);
    return status("ncclReduceScatter", of,
                  functions_.reduce_scatter(in, out, count, type_of(type), operation_of(aggregate),
                                            of, static_cast<cudaStream_t>(stream)));
  }
  Status reduce(Communicator communicator, const void* in, void* out, std::size_t count, DType type,
                Aggregate aggregate, std::uint32_t root, Stream stream) override {
    auto* of = static_cast<ncclComm_t>(communicator);
    return status("ncclReduce", of,
                  functions_.reduce(in, out, count, type_of(type), operation_of(aggregate),
                                    static_cast<int>(root), of, static_cast<cudaStream_t>(stream)));
  }
  Status all_gather(Communicator communicator, const void* in, void* out, std::size_t count,
                    DType type, Stream stream) override {
    auto* of = static_cast<ncclComm_t>(communicator);
    return status("ncclAllGather", of,
                  functions_.all_gather(in, out, count, type_of(type), of,
                                        static_cast<cudaStream_t>(stream)));
  }
  Status broadcast(Communicator communicator, const void* in, void* out, std::size_t count,
                   DType type, std::uint32_t root, Stream stream) override {
    auto* of = static_cast<ncclComm_t>(communicator);
    return status("ncclBroadcast", of,
                  functions_.broadcast(in, out, count, type_of(type), static_cast<int>(root), of,
                                       static_cast<cudaStream_t>(stream)));
  }

  Status finalize(Communicator communicator) override {
    auto* of = static_cast<ncclComm_t>(communicator);
    return status("ncclCommFinalize", of, functions_.finalize(of));
  }
  void destroy(Communicator communicator) override {
    (void)functions_.destroy(static_cast<ncclComm_t>(communicator));
  }
  void abort(Communicator communicator) override {
    (void)functions_.abort(static_cast<ncclComm_t>(communicator));
  }

 private:
  Status status(std::string_view call, ncclComm_t communicator, ncclResult_t result) const {
    if (result == ncclSuccess || result == ncclInProgress) return {};
    const char* more = functions_.get_last_error(communicator);
    return Error{Errc::io, fmt::format("{}: {}{}{} (NCCL_DEBUG=WARN tells more)", call,
                                       functions_.get_error_string(result),
                                       more == nullptr || *more == 0 ? "" : ": ",
                                       more == nullptr ? "" : more)};
  }

  Functions functions_;
  int version_;
};

}  // namespace

Result<std::shared_ptr<Nccl>> load_nccl(const char* library) {
  void* handle = ::dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr)
    return Error{Errc::unavailable, fmt::format("NCCL is not there: {} (Debian: libnccl2, of "
                                                "NVIDIA's repository)",
                                                ::dlerror())};
  std::string missing;
  const auto find = [&]<class Function>(Function*& function, const char* name) {
    function = reinterpret_cast<Function*>(::dlsym(handle, name));
    if (function == nullptr && missing.empty()) missing = name;
  };
  Functions functions;
  find(functions.get_version, "ncclGetVersion");
  find(functions.get_unique_id, "ncclGetUniqueId");
  find(functions.init, "ncclCommInitRankConfig");
  find(functions.get_async_error, "ncclCommGetAsyncError");
  find(functions.group_start, "ncclGroupStart");
  find(functions.group_end, "ncclGroupEnd");
  find(functions.reduce_scatter, "ncclReduceScatter");
  find(functions.reduce, "ncclReduce");
  find(functions.all_gather, "ncclAllGather");
  find(functions.broadcast, "ncclBroadcast");
  find(functions.finalize, "ncclCommFinalize");
  find(functions.destroy, "ncclCommDestroy");
  find(functions.abort, "ncclCommAbort");
  find(functions.get_error_string, "ncclGetErrorString");
  find(functions.get_last_error, "ncclGetLastError");
  int version = 0;
  if (missing.empty() && (functions.get_version(&version) != ncclSuccess || version < kVersionMin))
    missing = fmt::format("NCCL 2.14.3 or newer (its version is {})", version);
  if (!missing.empty())
    return Error{Errc::unavailable, fmt::format("{} has no {}", library, missing)};
  return std::shared_ptr<Nccl>(std::make_shared<LoadedNccl>(functions, version));
}

#else

Result<std::shared_ptr<Nccl>> load_nccl(const char*) {
  return Error{
      Errc::unavailable,
      "Shoal was built without NCCL (SHOAL_WITH_NCCL): it needs nccl.h and the CUDA toolkit"};
}

#endif

}  // namespace shoal::local
