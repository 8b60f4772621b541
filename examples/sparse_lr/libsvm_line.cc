#include "examples/sparse_lr/libsvm_line.h"

#include <charconv>
#include <cmath>
#include <string>

#include "examples/sparse_lr/text.h"

namespace shoal::sparse_lr {
namespace {

constexpr bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

/// The line without comment and without blanks at its end.
std::string_view content_of(std::string_view line) {
  if (const auto comment = line.find('#'); comment != line.npos) line = line.substr(0, comment);
  while (!line.empty() && is_blank(line.back())) line.remove_suffix(1);
  return line;
}

/// Cuts the next token off `rest`; empty at the end.
std::string_view next_token(std::string_view& rest) {
  const char* at = rest.data();
  const char* const end = at + rest.size();
  while (at != end && is_blank(*at)) ++at;
  const char* const begin = at;
  while (at != end && !is_blank(*at)) ++at;
  rest = {at, static_cast<std::size_t>(end - at)};
  return {begin, static_cast<std::size_t>(at - begin)};
}

Error expected(std::string_view what, std::string_view found) {
  return {Errc::invalid_argument, "expected " + std::string(what) + ", found " + quoted(found)};
}

/// A finite number that fills `text`; a leading '+' is allowed, as writers put it before labels.
template <class T>
bool parse_finite(std::string_view text, T& number) {
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  return code == std::errc{} && end == text.data() + text.size() && std::isfinite(number);
}

Result<double> parse_label(std::string_view token) {
  double label = 0;
  if (!parse_finite(token, label)) return expected("a label (a number)", token);
  return label;
}

bool parse_index(std::string_view text, std::uint64_t& index) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), index);
  return code == std::errc{} && end == text.data() + text.size() && index != 0;
}

/// Why `text` is no index; the slow path of parse_index.
Error index_error(std::string_view text, std::uint64_t index_max) {
  const bool digits = !text.empty() && text.find_first_not_of("0123456789") == text.npos;
  if (digits && text.find_first_not_of('0') == text.npos)
    return expected("an index of at least 1 (libsvm counts from 1)", text);
  if (digits) return expected("an index of at most " + std::to_string(index_max), text);
  return expected("an index (a whole number from 1 on) before the ':'", text);
}

/// A float, or why not. What is too small for a float is 0.
Status parse_value(std::string_view text, float& value) {
  double wide = 0;
  if (parse_finite(text, wide) && std::abs(wide) <= std::numeric_limits<float>::max()) {
    value = static_cast<float>(wide);
    return {};
  }
  return expected("a finite value, within a float's range, after the ':'", text);
}

Status append_features(std::string_view rest, std::uint64_t index_max, CsrBatch& batch) {
  std::uint64_t previous = 0;
  for (auto token = next_token(rest); !token.empty(); token = next_token(rest)) {
    const auto colon = token.find(':');
    if (colon == token.npos) return expected("index:value", token);
    const auto index_text = token.substr(0, colon);
    std::uint64_t index = 0;
    if (!parse_index(index_text, index) || index > index_max)
      return index_error(index_text, index_max);
    if (index <= previous)
      return expected("an index above " + std::to_string(previous) +
                          " (the indices of a line ascend, none twice)",
                      index_text);
    previous = index;
    float value = 0;
    SHOAL_TRY(parse_value(token.substr(colon + 1), value));
    if (value == 0) continue;
    batch.keys.push_back(index - 1);
    batch.values.push_back(value);
  }
  return {};
}

}  // namespace

Status parse_line(std::string_view line, const LineRules& rules, CsrBatch& batch) {
  auto rest = content_of(line);
  const auto label_token = next_token(rest);
  if (label_token.empty()) return {};
  SHOAL_ASSIGN(const double label, parse_label(label_token));
  const bool positive = label == rules.classes.positive;
  if (!positive && label != rules.classes.negative)
    return expected("a label of the two classes " + number_text(rules.classes.negative) + " and " +
                        number_text(rules.classes.positive),
                    label_token);
  const auto entries_before = batch.entry_count();
  auto status = append_features(rest, rules.index_max, batch);
  if (status.ok() && batch.entry_count() > std::numeric_limits<std::uint32_t>::max())
    status =
        Error{Errc::out_of_range, "a batch holds less than 2^32 values; use a smaller --batch"};
  if (!status.ok()) {
    batch.keys.resize(entries_before);
    batch.values.resize(entries_before);
    return status;
  }
  batch.labels.push_back(positive ? 1.0f : -1.0f);
  batch.row_ends.push_back(static_cast<std::uint32_t>(batch.entry_count()));
  return {};
}

Result<LineSummary> summarise_line(std::string_view line) {
  auto rest = content_of(line);
  const auto label_token = next_token(rest);
  if (label_token.empty()) return LineSummary{};
  LineSummary summary{.has_example = true};
  SHOAL_ASSIGN(summary.label, parse_label(label_token));
  if (rest.empty()) return summary;
  const auto token = rest.substr(rest.find_last_of(" \t\r") + 1);
  const auto colon = token.find(':');
  if (colon == token.npos) return expected("index:value", token);
  if (!parse_index(token.substr(0, colon), summary.last_index) || summary.last_index > kIndexMax)
    return index_error(token.substr(0, colon), kIndexMax);
  return summary;
}

}  // namespace shoal::sparse_lr
