#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "examples/sparse_lr/block_problem.h"
#include "examples/sparse_lr/key_ids.h"

namespace shoal::sparse_lr {

/// Reads a share and deals its entries out to the pages of a BlockProblem.
class BlockProblemBuilder {
 public:
  explicit BlockProblemBuilder(const BlockProblem::Options& options)
      : options_(options),
        problem_(options),
        open_(options.schedule.blocks),
        norms_(options.schedule.blocks) {}

  Result<BlockProblem> build(LibsvmReader& reader) {
    SHOAL_TRY(reader.rewind());
    CsrBatch batch;
    for (;;) {
      SHOAL_TRY(reader.read(batch, options_.chunk_rows, options_.chunk_entries));
      if (batch.empty()) break;
      SHOAL_TRY(add_chunk(batch));
    }
    finish();
    return std::move(problem_);
  }

 private:
  /// A piece while its chunk is read: the arrays of its page.
  struct OpenPiece {
    std::vector<std::uint32_t> rows, row_ends;
    std::vector<float> couplings;
    std::vector<std::uint32_t> columns;
    std::vector<float> values;
  };

  Status add_chunk(const CsrBatch& batch) {
    states_.clear();
    for (std::size_t row = 0; row < batch.row_count(); ++row) {
      add_row(batch, row);
      // At w = 0: p = 1/2, and the curvature is largest. The first move shall trust nothing
      // smaller.
      states_.push_back({.margin = 0,
                         .label = batch.labels[row],
                         .slope = -batch.labels[row] / 2,
                         .curvature = 0.25f,
                         .reach = std::numeric_limits<float>::max()});
    }
    for (auto& piece : open_) SHOAL_TRY(write(piece));
    SHOAL_ASSIGN(const auto page, problem_.pages_.append(std::as_bytes(std::span(states_))));
    problem_.state_pages_.push_back(page);
    problem_.example_count_ += batch.row_count();
    return {};
  }

  void add_row(const CsrBatch& batch, std::size_t row) {
    touched_.clear();
    for (auto entry = batch.row_begin(row); entry < batch.row_ends[row]; ++entry) {
      const auto block = options_.schedule.block_of(batch.keys[entry]);
      auto& piece = open_[block];
      if (norms_[block] == 0) touched_.push_back(block);
      norms_[block] += std::abs(batch.values[entry]);
      piece.columns.push_back(column_of(batch.keys[entry], block));
      piece.values.push_back(batch.values[entry]);
    }
    for (const auto block : touched_) {
      auto& piece = open_[block];
      piece.rows.push_back(static_cast<std::uint32_t>(row));
      piece.row_ends.push_back(static_cast<std::uint32_t>(piece.columns.size()));
      piece.couplings.push_back(coupling(block));
    }
    for (const auto block : touched_) norms_[block] = 0;
  }

  /// r_i(b) + half of r_i over the s blocks before and after; see BlockProblem.
  float coupling(std::uint32_t block) const {
    const auto blocks = options_.schedule.blocks;
    float neighbours = 0;
    for (std::uint32_t d = 1; d <= options_.schedule.staleness; ++d)
      neighbours += norms_[(block + d) % blocks] + norms_[(block + blocks - d) % blocks];
    return norms_[block] + neighbours / 2;
  }

  std::uint32_t column_of(Key key, std::uint32_t block) {
    auto& keys = problem_.blocks_[block].keys;
    const auto next = static_cast<std::uint32_t>(keys.size());
    const auto column = columns_.find_or_add(key, next);
    if (column == next) keys.push_back(key);
    return column;
  }

  Status write(OpenPiece& open) {
    BlockProblem::Piece piece{.rows = static_cast<std::uint32_t>(open.rows.size()),
                              .entries = static_cast<std::uint32_t>(open.columns.size())};
    if (piece.rows > 0) {
      page_.clear();
      put(open.rows);
      put(open.row_ends);
      put(open.couplings);
      put(open.columns);
      put(open.values);
      SHOAL_ASSIGN(piece.page, problem_.pages_.append(page_));
    }
    problem_.pieces_.push_back(piece);
    return {};
  }

  template <class T>
  void put(std::vector<T>& values) {
    const auto bytes = std::as_bytes(std::span(values));
    page_.insert(page_.end(), bytes.begin(), bytes.end());
    values.clear();
  }

  /// Columns were given in order of appearance; pulls and pushes want ascending keys.
  void finish() {
    std::size_t keys_max = 0;
    std::vector<std::uint32_t> order;
    for (auto& block : problem_.blocks_) {
      const auto count = block.keys.size();
      keys_max = std::max(keys_max, count);
      order.resize(count);
      std::iota(order.begin(), order.end(), 0u);
      std::ranges::sort(order, {}, [&](std::uint32_t column) { return block.keys[column]; });
      block.place.resize(count);
      for (std::uint32_t place = 0; place < count; ++place) block.place[order[place]] = place;
      std::ranges::sort(block.keys);
      block.keys.shrink_to_fit();
      block.weights.assign(count, 0.0f);
    }
    problem_.sums_.resize(keys_max);
    problem_.moves_.resize(keys_max);
  }

  BlockProblem::Options options_;
  BlockProblem problem_;
  KeyIds columns_;
  std::vector<OpenPiece> open_;  ///< by block
  std::vector<float> norms_;     ///< by block: the row's sum of |x_ij|
  std::vector<std::uint32_t> touched_;
  std::vector<BlockProblem::RowState> states_;
  std::vector<std::byte> page_;
};

Result<BlockProblem> BlockProblem::build(LibsvmReader& reader, const Options& options) {
  const auto& schedule = options.schedule;
  if (schedule.blocks < schedule.staleness + 2)
    return Error{Errc::invalid_argument,
                 "staleness " + std::to_string(schedule.staleness) + " needs at least " +
                     std::to_string(schedule.staleness + 2) + " feature blocks (--blocks)"};
  return BlockProblemBuilder(options).build(reader);
}

}  // namespace shoal::sparse_lr
