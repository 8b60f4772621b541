// What people write, on any bytes: configuration files, durations, sizes, addresses, lists of
// names. What is accepted is told back in words that are accepted as the same; what is refused, in
// one line.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/assert.h"
#include "core/base/config.h"
#include "core/base/name_filter.h"
#include "transport/transport.h"

namespace {

using namespace shoal;

void check_line(const Error& error) {
  for (const unsigned char c : error.message()) SHOAL_ASSERT(c >= ' ', "an error is one line");
}

void try_file(std::string_view text) {
  const auto config = Config::parse(text, "shoal.toml", {}, {});
  if (!config.ok()) return check_line(config.error());
  Config::Settings settings;
  for (const auto& shown : config->show()) settings.emplace_back(shown.name, shown.value);
  const auto again = Config::parse({}, {}, {}, settings);
  SHOAL_ASSERT(again.ok(), "what is shown can be set");
  const auto first = config->show(), second = again->show();
  for (std::size_t i = 0; i < first.size(); ++i)
    SHOAL_ASSERT(first[i].value == second[i].value, "and is shown as it was");
}

void try_words(std::string_view text) {
  if (const auto time = parse_duration(text); time.ok())
    SHOAL_ASSERT(parse_duration(to_string(*time)).value() == *time, "a duration is told back");
  if (const auto bytes = parse_bytes(text); bytes.ok())
    SHOAL_ASSERT(parse_bytes(bytes_to_string(*bytes)).value() == *bytes, "a size is told back");
  if (const auto address = Address::parse(text); address.ok())
    SHOAL_ASSERT(Address::parse(address->to_string()).value() == *address,
                 "an address is told back");
  for (const auto kind : {NameFilter::Kind::interfaces, NameFilter::Kind::devices}) {
    const auto filter = NameFilter::parse(kind, text);
    if (!filter.ok()) {
      check_line(filter.error());
      continue;
    }
    SHOAL_ASSERT(NameFilter::parse(kind, filter->text()).value() == *filter, "a list is told back");
    SHOAL_ASSERT(filter->takes(text, 1) == filter->why_not(text, 1).empty(),
                 "what is not taken has a reason");
  }
  const auto option = Config::parse({}, {}, {{"SHOAL_" + std::string(text), "1"}}, {});
  if (!option.ok()) check_line(option.error());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try_file(text);
  try_words(text);
  return 0;
}
