#include "tests/support/allocations.h"

#include <cstddef>
#include <cstdlib>
#include <new>

namespace {

thread_local std::uint64_t count = 0;

void* count_and_allocate(std::size_t bytes) noexcept {
  ++count;
  return std::malloc(bytes == 0 ? 1 : bytes);
}

void* or_throw(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t bytes) { return or_throw(count_and_allocate(bytes)); }
void* operator new[](std::size_t bytes) { return or_throw(count_and_allocate(bytes)); }
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return count_and_allocate(bytes);
}
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
  return count_and_allocate(bytes);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace shoal::test {

std::uint64_t allocations() { return count; }

}  // namespace shoal::test
