#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "core/base/random.h"
#include "group/group.h"

namespace shoal::test {

/// A name that no other test of this machine has.
std::string group_name();

/// Runs `member(rank)` for each rank, in threads of this process; failures of gtest count.
void as_threads(std::uint32_t size, const std::function<void(std::uint32_t)>& member);

/// A member in a process of its own, which ends with what `member` returns: 0 is well. To be made
/// while this process has one thread.
class MemberProcess {
 public:
  explicit MemberProcess(const std::function<int()>& member);
  MemberProcess(MemberProcess&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}
  ~MemberProcess();
  /// Its exit status, or -signal.
  int wait();
  void signal(int number);
  /// Until it has stopped itself (SIGSTOP).
  void wait_until_stopped();

 private:
  pid_t pid_;
};

/// A clock that stands until it is told to hurry, and then goes on by a step each time that
/// somebody looks: waits end without waiting.
class HastyClock final : public Clock {
 public:
  void hurry(Duration step) { step_ = step.count(); }
  TimePoint now() const override { return TimePoint(Duration(now_.fetch_add(step_) + 1)); }

 private:
  std::atomic<Duration::rep> step_{0};
  mutable std::atomic<Duration::rep> now_{0};
};

/// The values of a member: some that are rounded when they are added, so that the order shows.
template <class T>
std::vector<T> values_of(std::uint32_t member, std::size_t count, std::uint64_t seed) {
  Random random(seed * 1000 + member);
  std::vector<T> values(count);
  for (auto& value : values)
    if constexpr (std::is_integral_v<T>)
      value = static_cast<T>(random.below(2000)) - 1000;
    else
      value = static_cast<T>(static_cast<float>(random.uniform() * 200 - 100));
  return values;
}

/// All members' values combined one after the other by rank, as it is promised.
template <class T>
std::vector<T> combined(std::uint32_t size, std::size_t count, std::uint64_t seed,
                        Aggregate aggregate = Aggregate::sum) {
  using S = Accumulator<T>;
  std::vector<S> sums(count);
  for (std::uint32_t m = 0; m < size; ++m) {
    const auto values = values_of<T>(m, count, seed);
    for (std::size_t i = 0; i < count; ++i) {
      const auto value = static_cast<S>(values[i]);
      if (m == 0)
        sums[i] = value;
      else if (aggregate == Aggregate::sum)
        sums[i] = sums[i] + value;
      else
        sums[i] = aggregate == Aggregate::min ? std::min(sums[i], value) : std::max(sums[i], value);
    }
  }
  std::vector<T> rounded(count);
  for (std::size_t i = 0; i < count; ++i) rounded[i] = static_cast<T>(sums[i]);
  return rounded;
}

template <class T>
bool same_bits(const T* a, const T* b, std::size_t count) {
  return count == 0 || std::memcmp(a, b, count * sizeof(T)) == 0;
}

/// Reduces, looks at the share, gathers the shares and looks at all. Empty: all is as it should be.
template <class T>
std::string reduce_and_gather(Group& group, RowRange rows, std::uint64_t row_values,
                              std::uint64_t seed, Aggregate aggregate = Aggregate::sum) {
  const GroupWork work{dtype_of<T>(), aggregate, Shares(rows, group.size()), row_values};
  const auto count = rows.size() * row_values;
  const auto mine = work.shares.of(group.rank());
  const auto in = values_of<T>(group.rank(), count, seed);
  const auto expected = combined<T>(group.size(), count, seed, aggregate);
  std::vector<T> share(mine.size() * row_values), out(count);
  if (const auto done = group.reduce_scatter(work, host_view(std::span<const T>(in)),
                                             host_view(std::span(share)));
      !done.ok())
    return done.error().message();
  if (!same_bits(share.data(), expected.data() + (mine.begin - rows.begin) * row_values,
                 share.size()))
    return "another sum than that by rank";
  if (const auto done =
          group.all_gather(work, host_view(std::span<const T>(share)), host_view(std::span(out)));
      !done.ok())
    return done.error().message();
  return same_bits(out.data(), expected.data(), count) ? "" : "other values than the shares";
}

}  // namespace shoal::test
