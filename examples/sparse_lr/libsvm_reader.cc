#include "examples/sparse_lr/libsvm_reader.h"

#include <algorithm>
#include <utility>

#include "examples/sparse_lr/gzip_end.h"
#include "examples/sparse_lr/text.h"

namespace shoal::sparse_lr {
namespace {

/// Adds a label to those of a summary, of which there are two at most.
Status add_label(double label, ShareSummary& summary) {
  for (std::uint32_t i = 0; i < summary.label_count; ++i)
    if (summary.labels[i] == label) return {};
  if (summary.label_count == 2)
    return Error{Errc::invalid_argument,
                 "expected a label of the two classes " + number_text(summary.labels[0]) + " and " +
                     number_text(summary.labels[1]) + ", found a third: " + number_text(label)};
  summary.labels[summary.label_count++] = label;
  return {};
}

Error no_example(const std::string& path) {
  return {Errc::invalid_argument,
          path + ": expected libsvm lines ('label index:value ...'), found no example"};
}

Result<Classes> classes_of(const ShareSummary& all, const std::string& path) {
  if (all.label_count == 0) return no_example(path);
  if (all.label_count == 1)
    return Error{Errc::invalid_argument, path + ": expected two classes of labels, found only " +
                                             number_text(all.labels[0])};
  return Classes{std::min(all.labels[0], all.labels[1]), std::max(all.labels[0], all.labels[1])};
}

}  // namespace

Result<ShareSummary> summarise_share(const std::string& path, Share share) {
  SHOAL_ASSIGN(auto lines, LineSource::open(path, share));
  SHOAL_TRY(check_gzip_end(path));
  ShareSummary summary;
  for (std::string_view text;;) {
    SHOAL_ASSIGN(const bool more, lines.next(text));
    if (!more) return summary;
    auto line = summarise_line(text);
    if (!line.ok()) return lines.at_line(std::move(line).error());
    if (!line->has_example) continue;
    if (auto status = add_label(line->label, summary); !status.ok())
      return lines.at_line(std::move(status).error());
    ++summary.examples;
    summary.index_max = std::max(summary.index_max, line->last_index);
  }
}

Result<FileSummary> merge_summaries(const std::string& path, std::span<const ShareSummary> shares) {
  ShareSummary all;
  FileSummary file;
  for (const auto& share : shares) {
    for (std::uint32_t i = 0; i < std::min(share.label_count, 2u); ++i)
      if (auto status = add_label(share.labels[i], all); !status.ok())
        return Error{status.code(), path + ": " + status.error().what};
    file.examples += share.examples;
    file.share_examples_max = std::max(file.share_examples_max, share.examples);
    file.index_max = std::max(file.index_max, share.index_max);
  }
  SHOAL_ASSIGN(file.classes, classes_of(all, path));
  return file;
}

Result<FileSummary> summarise_file(const std::string& path) {
  SHOAL_ASSIGN(const auto summary, summarise_share(path));
  return merge_summaries(path, {&summary, 1});
}

Status check_examples(const std::string& path, const LineRules& rules) {
  SHOAL_ASSIGN(auto reader, LibsvmReader::open(path, rules));
  SHOAL_TRY(check_gzip_end(path));
  CsrBatch first;
  SHOAL_TRY(reader.read(first, 1));
  if (first.empty()) return no_example(path);
  return {};
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
