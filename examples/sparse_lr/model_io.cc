#include "examples/sparse_lr/model_io.h"

#include <array>
#include <charconv>
#include <cmath>
#include <optional>

#include "core/base/assert.h"
#include "examples/sparse_lr/line_source.h"
#include "examples/sparse_lr/text.h"

namespace shoal::sparse_lr {
namespace {

bool is_whole(double label) {
  return std::trunc(label) == label && std::abs(label) <= std::numeric_limits<std::int32_t>::max();
}

template <class T>
bool parse_all(std::string_view text, T& value) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  return code == std::errc{} && end == text.data() + text.size();
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.back() == ' ' || text.back() == '\r')) text.remove_suffix(1);
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  return text;
}

/// What stands above the weights.
struct Header {
  std::int64_t classes = 2;
  std::int64_t features = -1;
  double bias = -1;
  std::optional<std::array<double, 2>> labels;
};

Error expected_in_model(std::string_view what, std::string_view found) {
  return {Errc::invalid_argument, "expected " + std::string(what) + ", found " + quoted(found)};
}

bool parse_labels(std::string_view text, Header& header) {
  const auto blank = text.find(' ');
  std::array<double, 2> labels{};
  if (blank == text.npos || !parse_all(text.substr(0, blank), labels[0]) ||
      !parse_all(trimmed(text.substr(blank)), labels[1]) || labels[0] == labels[1])
    return false;
  header.labels = labels;
  return true;
}

/// One "name value" line. Names that say nothing about the weights are passed over.
Status parse_header_line(std::string_view line, Header& header) {
  const auto blank = line.find(' ');
  const auto name = line.substr(0, blank);
  const auto value = blank == line.npos ? std::string_view{} : trimmed(line.substr(blank));
  if (name == "solver_type" && (value.ends_with("SVR") || value == "ONECLASS_SVM"))
    return expected_in_model("a classifier's solver_type", value);
  if (name == "nr_class" && (!parse_all(value, header.classes) || header.classes != 2))
    return expected_in_model("nr_class 2 (a model of two classes)", line);
  if (name == "nr_feature" && (!parse_all(value, header.features) || header.features < 0 ||
                               header.features > static_cast<std::int64_t>(kIndexMax)))
    return expected_in_model("nr_feature and a number of features", line);
  if (name == "bias" && (!parse_all(value, header.bias) || header.bias >= 0))
    return expected_in_model("bias -1 (a model trained without -B)", line);
  if (name == "label" && !parse_labels(value, header))
    return expected_in_model("label and two different labels", line);
  return {};
}

Result<Header> read_header(LineSource& lines) {
  Header header;
  for (std::string_view line;;) {
    SHOAL_ASSIGN(const bool more, lines.next(line));
    if (!more || trimmed(line) == "w") break;
    if (auto status = parse_header_line(trimmed(line), header); !status.ok())
      return lines.at_line(std::move(status).error());
  }
  if (header.features < 0 || !header.labels)
    return Error{Errc::invalid_argument, lines.path() +
                                             ": expected a LIBLINEAR model; there is no line "
                                             "'nr_feature' or no line 'label' above the weights"};
  return header;
}

}  // namespace

Result<Model> read_model(const std::string& path) {
  SHOAL_ASSIGN(auto lines, LineSource::open(path));
  SHOAL_ASSIGN(const auto header, read_header(lines));
  const auto [first, second] = *header.labels;
  const bool turned = first < second;
  Model model{{std::min(first, second), std::max(first, second)}, {}};
  const auto features = static_cast<std::size_t>(header.features);
  for (std::string_view line; model.weights.size() < features;) {
    SHOAL_ASSIGN(const bool more, lines.next(line));
    if (!more)
      return Error{Errc::invalid_argument, path + ": expected " + std::to_string(features) +
                                               " weights after 'w', found " +
                                               std::to_string(model.weights.size())};
    double weight = 0;
    if (!parse_all(trimmed(line), weight) || !std::isfinite(weight))
      return lines.at_line(expected_in_model("a weight (one number a line)", line));
    model.weights.push_back(turned ? -weight : weight);
  }
  return model;
}

Status check_model(const std::string& path, const Classes& classes, std::uint64_t features) {
  if (features > kIndexMax)
    return Error{Errc::out_of_range, "cannot write " + path +
                                         ": LIBLINEAR's format counts at most " +
                                         std::to_string(kIndexMax) + " features, this model has " +
                                         std::to_string(features)};
  if (!is_whole(classes.positive) || !is_whole(classes.negative))
    return Error{Errc::invalid_argument,
                 "cannot write " + path + ": LIBLINEAR's labels are whole numbers, these are " +
                     number_text(classes.positive) + " and " + number_text(classes.negative)};
  return {};
}

Result<ModelWriter> ModelWriter::begin(OutputFile file, const Classes& classes,
                                       std::uint64_t features) {
  SHOAL_TRY(check_model(file.path(), classes, features));
  file.write("solver_type L1R_LR\nnr_class 2\nlabel " + number_text(classes.positive) + ' ' +
             number_text(classes.negative) + "\nnr_feature " + std::to_string(features) +
             "\nbias -1\nw\n");
  return ModelWriter(std::move(file), features);
}

void ModelWriter::add(std::span<const float> weights) {
  SHOAL_ASSERT(weights.size() <= features_left_, "more weights than were announced");
  features_left_ -= weights.size();
  text_.clear();
  std::array<char, 32> buffer;
  for (const float weight : weights) {
    // 0 as LIBLINEAR writes it; never "-0".
    const float shown = weight == 0 ? 0.0f : weight;
    const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), shown).ptr;
    text_.append(buffer.data(), end);
    text_ += '\n';
  }
  file_.write(text_);
}

Status ModelWriter::commit() {
  SHOAL_ASSERT(features_left_ == 0, "fewer weights than were announced");
  return file_.commit();
}

}  // namespace shoal::sparse_lr
