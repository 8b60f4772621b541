#include "core/table/table_spec.h"

#include <fmt/core.h>

#include <algorithm>

#include "core/table/geometry.h"

namespace shoal {

namespace {

Error wrong(const TableSpec& spec, std::string_view what) {
  return {Errc::invalid_argument, fmt::format("table '{}': {}", spec.name, what)};
}

template <class T>
Status same(const TableSpec& table, std::string_view field, const T& existing, const T& opened) {
  if (existing == opened) return {};
  return Error{
      Errc::mismatch,
      fmt::format("table '{}' is already there with {} = {}, and was opened with {}: open it "
                  "with the same, or choose another name",
                  table.name, field, existing, opened)};
}

std::string describe(const UpdateSpec& update) {
  std::string text = update.rule + "(";
  for (const auto& [name, value] : update.parameters)
    text += fmt::format("{}{}={}", text.back() == '(' ? "" : ", ", name, value);
  return text + ")";
}

}  // namespace

std::string_view name_of(Apply apply) {
  switch (apply) {
    case Apply::on_arrival:
      return "on_arrival";
    case Apply::per_clock:
      return "per_clock";
    case Apply::collective:
      return "collective";
  }
  return "?";
}

Status validate(const TableSpec& spec) {
  if (spec.name.empty() || spec.name.size() > kTableNameBytesMax)
    return Error{Errc::invalid_argument,
                 fmt::format("a table's name has 1 to {} bytes, '{}' has {}", kTableNameBytesMax,
                             spec.name, spec.name.size())};
  if (std::any_of(spec.name.begin(), spec.name.end(),
                  [](unsigned char c) { return c < ' ' || c == 0x7f; }))
    return Error{Errc::invalid_argument, "a table's name holds a control character"};
  if (spec.row_width == 0) return wrong(spec, "row_width is 0; a row has at least one value");
  if (spec.row_bytes() > kSegmentBytes)
    return wrong(spec,
                 fmt::format("a row of {} bytes is larger than a segment ({} bytes): use more "
                             "and narrower rows",
                             spec.row_bytes(), kSegmentBytes));
  if (spec.segment_bytes > kSegmentBytes)
    return wrong(spec, fmt::format("segments of {} bytes; at most {} are possible",
                                   spec.segment_bytes, kSegmentBytes));
  if (spec.layout == Layout::dense && spec.rows == 0)
    return wrong(spec, "a dense table needs rows > 0");
  if (spec.layout == Layout::dense && spec.rows > kDenseRowsMax)
    return wrong(spec, fmt::format("{} rows; at most {} are possible", spec.rows, kDenseRowsMax));
  if (spec.layout == Layout::dense && Geometry::segment_count(spec) > kSegmentsMax)
    return wrong(spec,
                 fmt::format("{} segments of {} KiB; at most {} are possible",
                             Geometry::segment_count(spec), kSegmentBytes >> 10, kSegmentsMax));
  if (spec.layout == Layout::sparse && spec.rows != 0)
    return wrong(spec, "a sparse table has no fixed number of rows: leave rows at 0");
  if (spec.staleness < 0) return wrong(spec, "staleness is negative; 0 is BSP");
  if (spec.staleness != unbounded && spec.staleness > kStalenessMax)
    return wrong(spec, fmt::format("staleness {} is beyond {}: use shoal::unbounded for an "
                                   "asynchronous table",
                                   spec.staleness, kStalenessMax));
  if (spec.update.inputs == 0 || spec.update.inputs > kInputsMax)
    return wrong(spec, fmt::format("update rule '{}' takes {} inputs; 1 to {} are possible",
                                   spec.update.rule, spec.update.inputs, kInputsMax));
  const auto apply = spec.apply_mode();
  if (apply != Apply::on_arrival && spec.staleness == unbounded)
    return wrong(spec,
                 fmt::format("{} needs a staleness bound: its sums live until all workers have "
                             "ticked",
                             name_of(apply)));
  if (apply != Apply::on_arrival && spec.update.aggregate == Aggregate::last)
    return wrong(spec, fmt::format("{} sums pushes, which '{}' cannot: use on_arrival",
                                   name_of(apply), spec.update.rule));
  if (apply == Apply::collective && spec.layout == Layout::sparse)
    return wrong(spec,
                 "collective tables are dense: with sparse rows nobody knows who contributes");
  if (spec.deterministic && apply != Apply::collective)
    return wrong(spec, "deterministic sums need apply = collective");
  if (spec.slots > kSlotsMax)
    return wrong(spec, fmt::format("{} slots; at most {}", spec.slots, kSlotsMax));
  if (spec.layout == Layout::sparse && (spec.slots & (spec.slots - 1)) != 0)
    return wrong(spec, fmt::format("{} slots; a sparse table has a power of two", spec.slots));
  return {};
}

Status agrees(const TableSpec& existing, const TableSpec& opened) {
  SHOAL_TRY(same(existing, "dtype", shoal::name_of(existing.dtype), shoal::name_of(opened.dtype)));
  SHOAL_TRY(same(existing, "layout", existing.layout == Layout::dense ? "dense" : "sparse",
                 opened.layout == Layout::dense ? "dense" : "sparse"));
  SHOAL_TRY(same(existing, "rows", existing.rows, opened.rows));
  SHOAL_TRY(same(existing, "row_width", existing.row_width, opened.row_width));
  SHOAL_TRY(same(existing, "update", describe(existing.update), describe(opened.update)));
  SHOAL_TRY(same(existing, "apply", name_of(existing.apply_mode()), name_of(opened.apply_mode())));
  SHOAL_TRY(same(existing, "staleness", existing.staleness, opened.staleness));
  SHOAL_TRY(same(existing, "deterministic", existing.deterministic, opened.deterministic));
  if (!(existing.initializer == opened.initializer))
    return Error{Errc::mismatch, fmt::format("table '{}' is already there with another initializer",
                                             existing.name)};
  return {};
}

void encode(Writer& out, const TableSpec& spec) {
  out.put_string(spec.name);
  out.put(spec.dtype);
  out.put(spec.layout);
  out.put(spec.rows);
  out.put(spec.row_width);
  out.put_string(spec.update.rule);
  out.put(static_cast<std::uint32_t>(spec.update.parameters.size()));
  for (const auto& [name, value] : spec.update.parameters) {
    out.put_string(name);
    out.put(value);
  }
  out.put(spec.update.inputs);
  out.put(spec.update.aggregate);
  out.put(spec.initializer.kind);
  out.put(spec.initializer.a);
  out.put(spec.initializer.b);
  out.put(spec.initializer.seed);
  out.put(spec.apply_mode());
  out.put(spec.staleness);
  out.put_bool(spec.deterministic);
  out.put(spec.slots);
  out.put(spec.segment_bytes);
}

TableSpec decode_table_spec(Reader& in) {
  TableSpec spec;
  spec.name = in.get_string(kTableNameBytesMax);
  spec.dtype = in.get_enum<DType>(kDTypeCount);
  spec.layout = in.get_enum<Layout>(2);
  spec.rows = in.get<std::uint64_t>();
  spec.row_width = in.get<std::uint32_t>();
  spec.update.rule = in.get_string(kTableNameBytesMax);
  const auto parameter_count = in.get_count(12);
  for (std::uint32_t i = 0; i < parameter_count && in.ok(); ++i) {
    auto name = in.get_string(kTableNameBytesMax);
    spec.update.parameters.emplace_back(std::move(name), in.get<double>());
  }
  spec.update.inputs = in.get<std::uint32_t>();
  spec.update.aggregate = in.get_enum<Aggregate>(4);
  spec.initializer.kind = in.get_enum<Initializer::Kind>(4);
  spec.initializer.a = in.get<double>();
  spec.initializer.b = in.get<double>();
  spec.initializer.seed = in.get<std::uint64_t>();
  spec.apply = in.get_enum<Apply>(3);
  spec.staleness = in.get<std::int64_t>();
  spec.deterministic = in.get_bool();
  spec.slots = in.get<std::uint32_t>();
  spec.segment_bytes = in.get<std::uint32_t>();
  return spec;
}

}  // namespace shoal
