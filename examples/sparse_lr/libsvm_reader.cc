#include "examples/sparse_lr/libsvm_reader.h"

#include <algorithm>
#include <utility>

#include "examples/sparse_lr/text.h"

namespace shoal::sparse_lr {
namespace {

/// Collects the labels of a file until there are two.
class ClassCollector {
 public:
  Status add(double label) {
    for (int i = 0; i < count_; ++i)
      if (labels_[i] == label) return {};
    if (count_ == 2)
      return Error{Errc::invalid_argument,
                   "expected a label of the two classes " + number_text(labels_[0]) + " and " +
                       number_text(labels_[1]) + ", found a third: " + number_text(label)};
    labels_[count_++] = label;
    return {};
  }
  Result<Classes> classes(const std::string& path) const {
    if (count_ == 0)
      return Error{Errc::invalid_argument,
                   path + ": expected libsvm lines ('label index:value ...'), found no example"};
    if (count_ == 1)
      return Error{Errc::invalid_argument, path + ": expected two classes of labels, found only " +
                                               number_text(labels_[0])};
    return Classes{std::min(labels_[0], labels_[1]), std::max(labels_[0], labels_[1])};
  }

 private:
  double labels_[2] = {};
  int count_ = 0;
};

}  // namespace

Result<FileSummary> summarise_file(const std::string& path) {
  SHOAL_ASSIGN(auto lines, LineSource::open(path));
  FileSummary summary;
  ClassCollector collector;
  for (std::string_view text;;) {
    SHOAL_ASSIGN(const bool more, lines.next(text));
    if (!more) break;
    auto line = summarise_line(text);
    if (!line.ok()) return lines.at_line(std::move(line).error());
    if (!line->has_example) continue;
    if (auto status = collector.add(line->label); !status.ok())
      return lines.at_line(std::move(status).error());
    ++summary.examples;
    summary.index_max = std::max(summary.index_max, line->last_index);
  }
  SHOAL_ASSIGN(summary.classes, collector.classes(path));
  return summary;
}

Result<LibsvmReader> LibsvmReader::open(const std::string& path, const LineRules& rules,
                                        Share share) {
  SHOAL_ASSIGN(auto lines, LineSource::open(path, share));
  return LibsvmReader(std::move(lines), rules);
}

Status LibsvmReader::read(CsrBatch& batch, std::size_t rows_max, std::size_t entries_max) {
  batch.clear();
  for (std::string_view line; batch.row_count() < rows_max && batch.entry_count() < entries_max;) {
    SHOAL_ASSIGN(const bool more, lines_.next(line));
    if (!more) break;
    if (auto status = parse_line(line, rules_, batch); !status.ok())
      return lines_.at_line(std::move(status).error());
  }
  return {};
}

}  // namespace shoal::sparse_lr
