#include "core/base/device_name.h"

#include <charconv>

namespace shoal {

namespace {
constexpr std::string_view kCuda = "cuda:";
/// More than a machine has.
constexpr std::uint16_t kOrdinalMax = 1023;
}  // namespace

Result<DeviceName> DeviceName::parse(std::string_view text) {
  if (text == "cpu") return DeviceName{};
  DeviceName name{.cuda = true};
  const auto digits = text.starts_with(kCuda) ? text.substr(kCuda.size()) : std::string_view{};
  const auto* const end = digits.data() + digits.size();
  const auto [at, error] = std::from_chars(digits.data(), end, name.ordinal);
  if (digits.empty() || at != end || error != std::errc() || name.ordinal > kOrdinalMax)
    return Error{Errc::invalid_argument,
                 "expected cpu, or a GPU as in cuda:0 ('shoal info' lists them)"};
  return name;
}

std::string DeviceName::to_string() const {
  return cuda ? std::string(kCuda) + std::to_string(ordinal) : "cpu";
}

}  // namespace shoal
