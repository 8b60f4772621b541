#pragma once

#include <optional>
#include <utility>
#include <variant>

#include "core/base/assert.h"
#include "core/base/error.h"

namespace shoal {

/// Prints the error and aborts: what `value()` of a failed result does.
[[noreturn]] void value_of_failed_result(const Error& error) noexcept;

/// A value of type T, or the Error that says why there is none: the only error channel between
/// modules. `value()` of a failed result is a bug of the caller and aborts with the error's
/// message; programs that want to go on test `ok()` first.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }

  T& value() & {
    require();
    return *std::get_if<0>(&state_);
  }
  const T& value() const& {
    require();
    return *std::get_if<0>(&state_);
  }
  T&& value() && {
    require();
    return std::move(*std::get_if<0>(&state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  /// The error; only of a failed result.
  const Error& error() const& {
    SHOAL_ASSERT(!ok(), "error() of a successful result");
    return *std::get_if<1>(&state_);
  }
  Error&& error() && {
    SHOAL_ASSERT(!ok(), "error() of a successful result");
    return std::move(*std::get_if<1>(&state_));
  }
  Errc code() const noexcept { return ok() ? Errc::ok : std::get_if<1>(&state_)->code; }

 private:
  void require() const {
    if (!ok()) value_of_failed_result(*std::get_if<1>(&state_));
  }
  std::variant<T, Error> state_;
};

/// Success, or the Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  bool ok() const noexcept { return !error_.has_value(); }
  explicit operator bool() const noexcept { return ok(); }
  void value() const {
    if (error_) value_of_failed_result(*error_);
  }
  const Error& error() const& {
    SHOAL_ASSERT(!ok(), "error() of a successful result");
    return *error_;
  }
  Error&& error() && {
    SHOAL_ASSERT(!ok(), "error() of a successful result");
    return std::move(*error_);
  }
  Errc code() const noexcept { return error_ ? error_->code : Errc::ok; }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

}  // namespace shoal

#define SHOAL_CONCAT_(a, b) a##b
#define SHOAL_CONCAT(a, b) SHOAL_CONCAT_(a, b)

/// Returns the error of `expression` (a Status or Result) from the enclosing function, if it
/// failed.
#define SHOAL_TRY(expression)                                                \
  do {                                                                       \
    if (auto shoal_status_ = (expression); !shoal_status_.ok()) [[unlikely]] \
      return std::move(shoal_status_).error();                               \
  } while (false)

/// `SHOAL_ASSIGN(auto x, f())`: x = the value of f(), or returns its error.
#define SHOAL_ASSIGN(declaration, expression) \
  SHOAL_ASSIGN_(SHOAL_CONCAT(shoal_result_, __LINE__), declaration, expression)
#define SHOAL_ASSIGN_(result, declaration, expression) \
  auto result = (expression);                          \
  if (!result.ok()) [[unlikely]]                       \
    return std::move(result).error();                  \
  declaration = std::move(result).value()
