#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"

namespace shoal {

/// Which network interfaces or devices to use, by name, in the syntax of NCCL (NCCL_SOCKET_IFNAME,
/// NCCL_IB_HCA; see "Environment Variables" in NCCL's manual): names separated by commas, with a
/// marker before the first or any later one.
///
///     eth,ens5         names that begin with one of these
///     =eth0,eth1       exactly these names
///     ^docker,lo       all but those that begin with one of these
///     ^=eth3           all but exactly this
///     mlx5_0:1         of devices: only this port
///
/// A marker (none at the front, `=`, `^` or `^=`) holds for its name and those behind it, until the
/// next marker: so every list means here what it means to NCCL, which knows a marker at the front
/// only, and `eth0,=ens5,^docker` takes names that begin with eth0, and ens5, and none that begins
/// with docker. Names to take by their beginning come first, since no marker says that again.
///
/// A name is taken if none of the excluding names matches it, and one of the others does or there
/// are no others. The order of names does not matter beyond their markers. An empty list takes all.
class NameFilter {
 public:
  enum class Kind : std::uint8_t {
    interfaces,  ///< names alone
    devices,     ///< a name, or a name and one of its ports: mlx5_0:1
  };

  /// Takes every name.
  explicit NameFilter(Kind kind) : kind_(kind) {}
  /// Spaces around names are passed over. Errors: invalid_argument (which name is wrong, what was
  /// expected).
  static Result<NameFilter> parse(Kind kind, std::string_view text);

  /// Whether `name` is taken. Without a port: whether any of its ports may be.
  bool takes(std::string_view name, std::optional<std::uint8_t> port = {}) const;
  /// Why `name` is not taken, for a sentence about it: "'^docker,lo' leaves it out (^lo)", or
  /// "'eth0,=ens5' has no name that fits". Empty: it is taken.
  std::string why_not(std::string_view name, std::optional<std::uint8_t> port = {}) const;

  Kind kind() const noexcept { return kind_; }
  /// As it was given.
  const std::string& text() const noexcept { return text_; }

  friend bool operator==(const NameFilter&, const NameFilter&) = default;

 private:
  struct Item {
    std::string name;
    std::optional<std::uint8_t> port;  // none: all
    bool exact = false;
    bool excludes = false;

    bool names(std::string_view other) const;
    friend bool operator==(const Item&, const Item&) = default;
  };

  const Item* excluding(std::string_view name, std::optional<std::uint8_t> port) const;
  bool included(std::string_view name, std::optional<std::uint8_t> port) const;

  Kind kind_;
  std::string text_;
  std::vector<Item> items_;
};

}  // namespace shoal
