#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "core/base/assert.h"
#include "core/base/ids.h"
#include "core/base/result.h"

namespace shoal {

/// What may stand on the wire as it stands in memory: fixed-width integers, strong ids, floats, and
/// structs of them without padding.
template <class T>
concept WireValue = std::is_trivially_copyable_v<T> && !std::is_pointer_v<T> &&
                    (std::is_floating_point_v<T> ||
                     std::has_unique_object_representations_v<T>)&&!std::is_same_v<T, bool>;

/// Appends values to a byte buffer of fixed capacity that the caller owns; nothing is allocated.
/// Writing beyond the capacity is remembered, and told by `ok()`: check once, at the end.
class Writer {
 public:
  explicit Writer(std::span<std::byte> buffer) : buffer_(buffer) {}

  template <WireValue T>
  void put(const T& value) {
    if (auto* to = take(sizeof value)) std::memcpy(to, &value, sizeof value);
  }
  void put_bool(bool value) { put<std::uint8_t>(value ? 1 : 0); }
  void put_bytes(std::span<const std::byte> bytes) {
    if (auto* to = take(bytes.size()); to != nullptr && !bytes.empty())
      std::memcpy(to, bytes.data(), bytes.size());
  }
  /// Length (u32), then the bytes.
  void put_string(std::string_view text) {
    put(static_cast<std::uint32_t>(text.size()));
    put_bytes(std::as_bytes(std::span(text)));
  }
  /// Overwrites a value written earlier at byte `offset`, as a count that is known only later.
  template <WireValue T>
  void patch(std::size_t offset, const T& value) {
    if (ok_) std::memcpy(buffer_.data() + offset, &value, sizeof value);
  }

  bool ok() const { return ok_; }
  std::size_t size() const { return size_; }
  std::span<const std::byte> written() const { return buffer_.first(size_); }

 private:
  std::byte* take(std::size_t n) {
    if (n > buffer_.size() - size_) {
      ok_ = false;
      return nullptr;
    }
    auto* at = buffer_.data() + size_;
    size_ += n;
    return at;
  }
  std::span<std::byte> buffer_;
  std::size_t size_ = 0;
  bool ok_ = true;
};

/// The bytes of a message that has an encode(Writer&, const M&), of which it makes at most
/// `bytes_max`.
template <class M>
std::vector<std::byte> encoded(const M& message, std::size_t bytes_max) {
  std::vector<std::byte> bytes(bytes_max);
  Writer out(bytes);
  encode(out, message);
  SHOAL_ASSERT(out.ok(), "a message is larger than its bound");
  bytes.resize(out.size());
  return bytes;
}

/// Reads values from untrusted bytes. Reading past the end, or a value that is not allowed, is
/// remembered and yields zeros: check `ok()` or `finish()` once, before anything read is used.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <WireValue T>
  T get() {
    T value{};
    if (const auto* from = take(sizeof value)) std::memcpy(&value, from, sizeof value);
    return value;
  }
  bool get_bool() {
    const auto value = get<std::uint8_t>();
    if (value > 1) ok_ = false;
    return value == 1;
  }
  /// An enumerator in [0, count), sent as its underlying type.
  template <class E>
  E get_enum(std::underlying_type_t<E> count) {
    const auto value = get<std::underlying_type_t<E>>();
    if (value >= count) ok_ = false;
    return ok_ ? static_cast<E>(value) : E{};
  }
  std::span<const std::byte> get_bytes(std::size_t n) {
    const auto* from = take(n);
    return from != nullptr ? std::span(from, n) : std::span<const std::byte>{};
  }
  /// A string of at most `bytes_max` bytes.
  std::string get_string(std::size_t bytes_max = 4096) {
    const auto n = get<std::uint32_t>();
    if (n > bytes_max) ok_ = false;
    if (!ok_) return {};
    const auto bytes = get_bytes(n);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  /// A count of items that each take at least `item_bytes` of what is left, so that a forged count
  /// cannot make the reader reserve more than the frame's own size.
  std::uint32_t get_count(std::size_t item_bytes) {
    const auto n = get<std::uint32_t>();
    if (n > left() / (item_bytes == 0 ? 1 : item_bytes)) ok_ = false;
    return ok_ ? n : 0;
  }

  void fail() { ok_ = false; }
  bool ok() const { return ok_; }
  std::size_t left() const { return bytes_.size(); }
  /// Errc::protocol unless everything was read and all of it was there.
  Status finish(const char* what) const {
    if (!ok_ || !bytes_.empty()) return Error{Errc::protocol, std::string("malformed ") + what};
    return {};
  }

 private:
  const std::byte* take(std::size_t n) {
    if (!ok_ || n > bytes_.size()) {
      ok_ = false;
      return nullptr;
    }
    const auto* at = bytes_.data();
    bytes_ = bytes_.subspan(n);
    return at;
  }
  std::span<const std::byte> bytes_;
  bool ok_ = true;
};

}  // namespace shoal
