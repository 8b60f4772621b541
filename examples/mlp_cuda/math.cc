#include "examples/mlp_cuda/math.h"

#include <fmt/core.h>

#include "core/base/device_name.h"

namespace shoal::mlp {

Result<std::unique_ptr<Math>> create_math(std::string_view device) {
  const auto name = DeviceName::parse(device);
  if (!name.ok())
    return Error{name.code(), fmt::format("--device '{:.40}': {}", device, name.error().what)};
  return name->cuda ? create_cuda_math(name->ordinal) : create_host_math();
}

}  // namespace shoal::mlp
