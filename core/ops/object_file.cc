#include "core/ops/object_file.h"

#include <link.h>

#include <algorithm>
#include <cstring>
#include <limits>

namespace shoal {

namespace {

/// Reads a T at `offset`. False: the file ends before.
template <class T>
bool read_at(std::istream& file, std::uint64_t offset, T& value) {
  if (offset > std::numeric_limits<std::int64_t>::max()) return false;
  file.seekg(static_cast<std::streamoff>(offset));
  file.read(reinterpret_cast<char*>(&value), sizeof value);
  return file.good();
}

std::uint64_t end_of(std::uint64_t offset, std::uint64_t size) {
  constexpr auto kBeyond = std::numeric_limits<std::uint64_t>::max();
  return size > kBeyond - offset ? kBeyond : offset + size;
}

}  // namespace

std::uint64_t object_bytes(std::istream& file) {
  ElfW(Ehdr) header;
  if (!read_at(file, 0, header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
      header.e_phentsize != sizeof(ElfW(Phdr)))
    return 0;
  auto end = end_of(header.e_shoff, std::uint64_t{header.e_shnum} * header.e_shentsize);
  for (std::uint64_t i = 0; i < header.e_phnum; ++i) {
    ElfW(Phdr) part;
    if (!read_at(file, end_of(header.e_phoff, i * sizeof part), part)) return 0;
    if (part.p_type == PT_LOAD) end = std::max(end, end_of(part.p_offset, part.p_filesz));
  }
  return end;
}

}  // namespace shoal
