#include "examples/mlp_cuda/math.h"

#include <fmt/core.h>

#include <charconv>

namespace shoal::mlp {

Result<std::unique_ptr<Math>> create_math(std::string_view device) {
  constexpr std::string_view kCuda = "cuda:";
  if (device == "cpu") return create_host_math();
  std::uint16_t ordinal = 0;
  if (device.starts_with(kCuda)) {
    const auto* begin = device.data() + kCuda.size();
    const auto* end = device.data() + device.size();
    const auto [stop, code] = std::from_chars(begin, end, ordinal);
    if (code == std::errc{} && stop == end) return create_cuda_math(ordinal);
  }
  return Error{Errc::invalid_argument,
               fmt::format("--device: expected cpu, cuda:0, cuda:1, ..., found '{:.40}'", device)};
}

}  // namespace shoal::mlp
