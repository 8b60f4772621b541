#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "transport/transport.h"

namespace shoal {

/// Values by endpoint. Looked into several times for each message, which is why it is no
/// std::unordered_map: that divides by a prime each time. Adding and erasing moves values.
template <class T>
class EndpointMap {
 public:
  using Entry = std::pair<EndpointId, T>;

  /// Null: there is none.
  T* find(EndpointId endpoint) { return const_cast<T*>(std::as_const(*this).find(endpoint)); }
  const T* find(EndpointId endpoint) const {
    if (places_.empty()) return nullptr;
    const auto place = places_[place_of(endpoint)];
    return place != 0 ? &entries_[place - 1].second : nullptr;
  }
  /// A new one begins as T().
  T& operator[](EndpointId endpoint) {
    if (auto* known = find(endpoint)) return *known;
    entries_.emplace_back(endpoint, T());
    if (entries_.size() * 2 > places_.size())
      grow();
    else
      places_[place_of(endpoint)] = static_cast<std::uint32_t>(entries_.size());
    return entries_.back().second;
  }
  /// False: there was none.
  bool erase(EndpointId endpoint) {
    if (find(endpoint) == nullptr) return false;
    const auto at = place_of(endpoint);
    const auto index = places_[at] - 1;
    if (index + 1 != entries_.size()) {
      places_[place_of(entries_.back().first)] = index + 1;
      std::swap(entries_[index], entries_.back());
    }
    places_[at] = 0;
    entries_.pop_back();
    // What was put behind it, because it stood there, moves up.
    for (auto next = (at + 1) & mask(); places_[next] != 0; next = (next + 1) & mask()) {
      const auto place = std::exchange(places_[next], 0);
      places_[place_of(entries_[place - 1].first)] = place;
    }
    return true;
  }
  std::size_t size() const { return entries_.size(); }
  bool empty() const { return entries_.empty(); }
  auto begin() const { return entries_.begin(); }
  auto end() const { return entries_.end(); }

 private:
  std::size_t mask() const { return places_.size() - 1; }
  /// Where the endpoint stands, or would.
  std::size_t place_of(EndpointId endpoint) const {
    // Fibonacci hashing (Knuth, The Art of Computer Programming 3, 6.4).
    auto at = static_cast<std::size_t>((endpoint.value * 0x9e3779b97f4a7c15u) >> 32) & mask();
    while (places_[at] != 0 && entries_[places_[at] - 1].first != endpoint) at = (at + 1) & mask();
    return at;
  }
  void grow() {
    places_.assign(places_.empty() ? 16 : places_.size() * 2, 0);
    for (std::size_t i = 0; i < entries_.size(); ++i)
      places_[place_of(entries_[i].first)] = static_cast<std::uint32_t>(i + 1);
  }

  std::vector<Entry> entries_;
  std::vector<std::uint32_t> places_;  // a power of two: 1 + the place in entries_, or 0
};

}  // namespace shoal
