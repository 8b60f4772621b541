// The reader of a plugin's headers on any bytes: it ends, and what it tells covers the headers that
// it read.

#include <elf.h>

#include <cstddef>
#include <cstdint>
#include <sstream>
#include <string>

#include "core/base/assert.h"
#include "core/ops/object_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  std::istringstream file(bytes);
  const auto end = shoal::object_bytes(file);
  const bool object = bytes.starts_with(ELFMAG) && size >= sizeof(Elf64_Ehdr);
  SHOAL_ASSERT(end == 0 || object, "only objects have an end");
  std::istringstream again(bytes);
  SHOAL_ASSERT(shoal::object_bytes(again) == end, "the same bytes, the same end");
  if (!object) return 0;
  // Whatever follows the bytes that were read changes nothing.
  std::istringstream longer(bytes + std::string(sizeof(Elf64_Phdr), '\0'));
  SHOAL_ASSERT(end == 0 || shoal::object_bytes(longer) == end, "the headers alone decide");
  return 0;
}
