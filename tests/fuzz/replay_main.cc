// Gives a fuzz target the empty input, and each file of the folders named, whole and cut short to a
// half, a quarter, ...: a corpus as a regression test, for compilers without libFuzzer.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

/// From a block of its exact size, so that a read past the end is one past an allocation.
void feed(const std::vector<char>& bytes, std::size_t size) {
  const auto copy = std::make_unique<std::uint8_t[]>(size);
  std::copy_n(bytes.begin(), size, copy.get());
  LLVMFuzzerTestOneInput(copy.get(), size);
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t files = 0;
  feed({}, 0);
  for (int i = 1; i < argc; ++i) {
    if (!std::filesystem::is_directory(argv[i])) continue;
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      std::ifstream file(entry.path(), std::ios::binary);
      const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
      for (auto size = bytes.size(); size > 0; size /= 2) feed(bytes, size);
      ++files;
    }
  }
  std::printf("%zu inputs replayed\n", files);
  return 0;
}
