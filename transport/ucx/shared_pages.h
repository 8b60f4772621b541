#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "core/base/clock.h"
#include "core/base/result.h"
#include "core/memory/memory_view.h"
#include "transport/ucx/gate.h"

namespace shoal::ucx {

/// Memory of this process that peers on this host may copy into and read, each as long as it is
/// admitted.
class SharedPages {
 public:
  /// Zeroed. Errors: no_memory, with errno.
  static Result<std::unique_ptr<SharedPages>> create(std::size_t bytes);
  ~SharedPages();
  SharedPages(const SharedPages&) = delete;
  SharedPages& operator=(const SharedPages&) = delete;

  MemoryView memory() const { return {data_, bytes_}; }
  bool contains(MemoryView part) const {
    return part.data >= data_ && part.data + part.bytes <= data_ + bytes_;
  }
  SharedCard card(MemoryView part) const;

  /// One region at a time goes through the gate. False: there is one, or pages have been replaced.
  bool take(std::uint64_t region);
  /// The region that has taken it, 0: none.
  std::uint64_t region() const { return region_; }
  /// Bars everybody.
  void give_back(const Clock& clock);

  /// Nobody is, once pages have been replaced: peers would see the old ones.
  void admit(std::size_t index, std::uint64_t ticket);
  /// When it returns, nothing that the link's peer still does lands here, and nothing that it reads
  /// changes. A peer that does not come out for kInsideMax has been stopped, or is dead: the pages
  /// that it is in are replaced by others with the same bytes, and from then on nobody is admitted.
  void bar(std::size_t index, const Clock& clock);

 private:
  SharedPages() = default;
  void replace(std::uint64_t offset, std::uint64_t bytes);

  int file_ = -1;
  Gate* gate_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;  ///< whole pages
  std::uint64_t region_ = 0;
  std::array<bool, kLinksMax>
      admitted_{};  ///< by turnstile, which may be closed for another's sake
  bool replaced_ = false;
};

/// All of a fabric. Any thread may call.
class SharedPool {
 public:
  /// Empty: there is no more of it, or so little that it is not worth while.
  MemoryView allocate(std::size_t bytes);
  /// False: it is not of this pool.
  bool deallocate(MemoryView memory);
  /// Null: `part` is not in it.
  SharedPages* find(MemoryView part);

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<SharedPages>> all_;
  bool told_ = false;
};

}  // namespace shoal::ucx
