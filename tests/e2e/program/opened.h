#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/e2e/program/words.h"
#include "worker/worker.h"

namespace shoal::e2e {

/// A buffer of some T: Shoal's (Worker::allocate) or, with own=1, a plain vector of the program's.
class Memory {
 public:
  virtual ~Memory() = default;
  virtual std::span<const std::byte> bytes() const = 0;
  virtual void fill(unsigned char byte) = 0;
  /// "n=.. min=.. max=.. distinct=.. sum=.."
  virtual std::string summary() const = 0;
};

template <class T>
class MemoryOf final : public Memory {
 public:
  static Result<std::unique_ptr<MemoryOf>> create(Worker& worker, std::size_t count, bool own) {
    auto memory = std::make_unique<MemoryOf>();
    if (own) {
      memory->vector_.resize(count);
    } else {
      SHOAL_ASSIGN(memory->buffer_, worker.allocate<T>(count));
    }
    memory->own_ = own;
    return memory;
  }
  std::span<T> values() { return own_ ? std::span<T>(vector_) : buffer_.span(); }
  Source<T> source() { return own_ ? Source<T>(vector_) : Source<T>(buffer_); }
  Target<T> target() { return own_ ? Target<T>(vector_) : Target<T>(buffer_); }

  std::span<const std::byte> bytes() const override {
    return own_ ? std::as_bytes(std::span(vector_)) : std::as_bytes(buffer_.span());
  }
  void fill(unsigned char byte) override {
    std::memset(values().data(), byte, values().size_bytes());
  }
  std::string summary() const override {
    const auto* data = reinterpret_cast<const T*>(bytes().data());
    const std::size_t count = bytes().size() / sizeof(T);
    const auto number = [&](std::size_t i) { return static_cast<Accumulator<T>>(data[i]); };
    std::set<Accumulator<T>> distinct;
    double sum = 0;
    for (std::size_t i = 0; i < count; ++i) {
      if (distinct.size() < 100 && (i == 0 || number(i) != number(i - 1)))
        distinct.insert(number(i));
      sum += static_cast<double>(number(i));
    }
    std::ostringstream out;
    out.precision(17);
    out << "n=" << count << " sum=" << sum << " distinct=" << distinct.size();
    if (count > 0) out << " min=" << +*distinct.begin() << " max=" << +*distinct.rbegin();
    return out.str();
  }

 private:
  std::vector<T> vector_;
  Buffer<T> buffer_;
  bool own_ = false;
};

/// A table of any value type, used by words: rows=A:B or keys=1,2,3, value=x or bits=0x..
class Opened {
 public:
  /// An operation under way and its buffers. The memory outlives the ticket.
  struct Issued {
    Memory& memory() { return out ? *out : *in; }

    std::unique_ptr<Memory> in, out;
    std::vector<Key> keys;
    Ticket ticket;
  };

  virtual ~Opened() = default;
  /// kind: push, pull, push_pull, store.
  virtual Result<std::unique_ptr<Issued>> issue(Worker& worker, const std::string& kind,
                                                const Words& words, const After& after) = 0;
  virtual TableHandle& handle() = 0;
};

inline std::optional<Duration> timeout_of(const Words& words) {
  if (!words.has("timeout")) return std::nullopt;
  return parse_duration(words.text("timeout")).value();
}

template <class T>
class OpenedAs final : public Opened {
 public:
  explicit OpenedAs(Table<T> table) : table_(std::move(table)) {}

  Result<std::unique_ptr<Issued>> issue(Worker& worker, const std::string& kind, const Words& words,
                                        const After& after) override {
    auto issued = std::make_unique<Issued>();
    RowRange rows;
    const bool by_keys = words.has("keys");
    if (by_keys) {
      std::istringstream in(words.text("keys"));
      for (std::string key; std::getline(in, key, ',');)
        issued->keys.push_back(std::strtoull(key.c_str(), nullptr, 0));
    } else {
      const auto text = words.text("rows");
      rows.begin = std::strtoull(text.c_str(), nullptr, 0);
      rows.end = std::strtoull(text.substr(text.find(':') + 1).c_str(), nullptr, 0);
    }
    const auto row_count = by_keys ? issued->keys.size() : rows.size();
    const auto count = static_cast<std::size_t>(
        words.number("count", static_cast<std::int64_t>(row_count * table_.spec().row_width)));
    const bool own = words.number("own") != 0;
    MemoryOf<T>* in = nullptr;
    MemoryOf<T>* out = nullptr;
    if (kind != "pull") {
      SHOAL_ASSIGN(auto memory, MemoryOf<T>::create(worker, count, own));
      in = memory.get();
      issued->in = std::move(memory);
      std::ranges::fill(in->values(), value_of(words));
    }
    if (kind == "pull" || kind == "push_pull") {
      SHOAL_ASSIGN(auto memory, MemoryOf<T>::create(worker, count, own));
      out = memory.get();
      issued->out = std::move(memory);
    }
    const PushOptions push{.after = after, .timeout = timeout_of(words)};
    const PullOptions pull{.after = after,
                           .ahead = words.number("ahead"),
                           .timeout = timeout_of(words),
                           .one_sided = words.number("one_sided") != 0};
    const std::span<const Key> keys(issued->keys);
    if (kind == "push")
      issued->ticket =
          by_keys ? table_.push(keys, in->source(), push) : table_.push(rows, in->source(), push);
    else if (kind == "store")
      issued->ticket =
          by_keys ? table_.store(keys, in->source(), push) : table_.store(rows, in->source(), push);
    else if (kind == "pull")
      issued->ticket =
          by_keys ? table_.pull(keys, out->target(), pull) : table_.pull(rows, out->target(), pull);
    else
      issued->ticket = table_.push_pull(rows, in->source(), out->target(), pull);
    return issued;
  }
  TableHandle& handle() override { return table_; }

 private:
  static T value_of(const Words& words) {
    T value{};
    if (words.has("bits")) {
      const auto bits = std::strtoull(words.text("bits").c_str(), nullptr, 0);
      std::memcpy(&value, &bits, sizeof value);
    } else {
      const double number = std::strtod(words.text("value", "1").c_str(), nullptr);
      value = static_cast<T>(static_cast<Accumulator<T>>(number));
    }
    return value;
  }
  Table<T> table_;
};

}  // namespace shoal::e2e
