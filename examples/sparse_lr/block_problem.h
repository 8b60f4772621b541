#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/base/ids.h"
#include "core/base/random.h"
#include "core/base/result.h"
#include "examples/sparse_lr/libsvm_reader.h"
#include "examples/sparse_lr/page_store.h"

namespace shoal::sparse_lr {

/// The reference mode's rounds: delayed block proximal gradient (Li, Andersen, Smola, Yu, NIPS'14).
/// The features are cut into blocks by a hash of their keys; round t (the worker's clock) is about
/// block t mod blocks, and one full pass over the data is `blocks` rounds. A pull in round t with
/// staleness s holds the rounds below t - s for certain, so round t fetches the one block which
/// that makes new. No block is touched twice within s + 1 rounds, so what a worker sees follows
/// from t alone, whatever the timing: runs repeat, up to the order in which workers' pushes are
/// added.
struct BlockSchedule {
  std::uint32_t blocks = 64;  ///< at least staleness + 2
  std::uint32_t staleness = 0;

  /// A block in 0..blocks-1. The same on every worker.
  std::uint32_t block_of(Key key) const { return static_cast<std::uint32_t>(mix64(key) % blocks); }
  std::uint32_t pushed_in(std::uint64_t round) const {
    return static_cast<std::uint32_t>(round % blocks);
  }
  /// False: the round pulls nothing.
  bool pulls_in(std::uint64_t round) const { return round > staleness; }
  std::uint32_t pulled_in(std::uint64_t round) const {
    return static_cast<std::uint32_t>((round - 1 - staleness) % blocks);
  }
};

/// One worker's share of the data, cut by examples (chunks) and by features (blocks), with the
/// margin w . x of every example kept up to date as weights arrive. Per round a worker calls
///
///     set_weights(schedule.pulled_in(t), pulled);      // moves margins by what changed
///     gradient(schedule.pushed_in(t), pushed);         // [g, u] per key of that block
///
/// pushes, and ticks; the servers add up g and u over the workers and apply ProximalDiagonal once:
/// w = S(w - t g, t l1) / (1 + t l2), t = step / u, step = 1 / (1 + staleness).
///
/// The bound. Say round t moves its block by d, from a gradient at weights that lack the s rounds
/// before. Along d the loss grows by at most g.d + sum_i k_i (x_i.d)^2 / 2 plus the gradient's own
/// error, sum_i k_i |x_i.d| |x_i.d'| for each missing move d', where k_i bounds the loss's second
/// derivative. With r_i(b), the sum of |x_ij| over block b, and 2 |d_j d_k| <= d_j^2 + d_k^2:
///     |x_i.d| |x_i.d'| <= (sum_j |x_ij| r_i(b') d_j^2 + sum_k |x_ik| r_i(b) d_k'^2) / 2,
/// half to be paid by either move. Over all rounds weight j of block b pays d_j^2 times
///     sum_i k_i |x_ij| (r_i(b) + sum of r_i(b') over the s blocks before and the s after) / 2
/// and a proximal step of metric M gains sum_j M_j d_j^2 at least. So the objective falls with
///     M_j = sum_i k_i |x_ij| (r_i(b) + half of that sum), and u_j = M_j / (1 + s)
/// is pushed: the mean over the rounds in flight, of which the step 1 / (1 + s) makes the sum.
/// Every row lies with one worker, so the workers' u_j add up to that of all data. With s = 0 and
/// one block it is the separable bound of parallel coordinate descent.
///
/// k_i is 1/4, or less: curvature_bound() over twice the way that the example's margin went of late
/// (as Genkin, Lewis, Madigan, Technometrics 2007, choose their trust regions). See README.md for
/// what this is worth.
///
/// Memory: the distinct features of the share (24 bytes each), one chunk, and what PageStore is
/// allowed.
class BlockProblem {
 public:
  struct Options {
    BlockSchedule schedule = {};
    PageStore::Options pages = {};
    std::size_t chunk_rows = 1 << 16;
    std::size_t chunk_entries = 1 << 20;
  };

  /// Reads the share once, from its begin; weights are 0. Errors: the reader's, io,
  /// invalid_argument (fewer blocks than staleness + 2).
  static Result<BlockProblem> build(LibsvmReader& reader, const Options& options);

  const BlockSchedule& schedule() const { return schedule_; }
  std::uint64_t example_count() const { return example_count_; }
  /// The share's distinct features of a block, ascending. They never change or move.
  std::span<const Key> keys(std::uint32_t block) const { return blocks_[block].keys; }
  /// The largest of keys(b).size().
  std::size_t block_keys_max() const { return sums_.size(); }

  /// The block's weights are now these, one a key. Errors: io.
  Status set_weights(std::uint32_t block, std::span<const float> weights);
  /// Two values a key: the derivative g of the share's loss, and u. Errors: io.
  Status gradient(std::uint32_t block, std::span<float> gradients_and_bounds);
  /// The share's loss, the sum of log(1 + exp(-y m)), at the weights last set. Errors: io.
  Result<double> loss();

 private:
  friend class BlockProblemBuilder;
  /// What is kept of an example.
  struct RowState {
    double margin = 0;
    float label = 0;
    float slope = 0;      ///< the loss's derivative by the margin
    float curvature = 0;  ///< k_i
    float reach = 0;  ///< within which k_i holds: twice the margin's last way, halved as it calms
  };
  struct Block {
    std::vector<Key> keys;             ///< ascending
    std::vector<std::uint32_t> place;  ///< column (order of first appearance) -> place in keys
    std::vector<float> weights;        ///< by column
  };
  /// The entries of a chunk's rows in one block. Its page holds arrays of 32-bit words: the rows
  /// that have any, the end of each one's entries, its coupling r_i(b) + ..., and the entries'
  /// columns and values.
  struct Piece {
    std::size_t page = 0;
    std::uint32_t rows = 0;  ///< 0: there is no page
    std::uint32_t entries = 0;
  };
  struct PieceView {
    std::span<const std::uint32_t> rows, row_ends;
    std::span<const float> couplings;
    std::span<const std::uint32_t> columns;
    std::span<const float> values;
  };
  struct Sums {
    double gradient = 0;
    double bound = 0;
  };

  explicit BlockProblem(const Options& options)
      : schedule_(options.schedule), pages_(options.pages), blocks_(options.schedule.blocks) {}
  std::size_t chunk_count() const { return state_pages_.size(); }
  Result<PieceView> load_piece(std::size_t chunk, std::uint32_t block);
  Result<std::span<RowState>> load_states(std::size_t chunk);
  Status move_margins(std::size_t chunk, std::uint32_t block);
  void refresh(RowState& state, double way) const;

  BlockSchedule schedule_;
  PageStore pages_;
  std::vector<Block> blocks_;
  std::vector<Piece> pieces_;             ///< chunk by chunk, a piece a block
  std::vector<std::size_t> state_pages_;  ///< RowState of each row, a page a chunk
  std::uint64_t example_count_ = 0;
  std::vector<Sums> sums_;    ///< by column, for the block at hand
  std::vector<float> moves_;  ///< by column
  PageStore::Scratch piece_scratch_, state_scratch_;
};

}  // namespace shoal::sparse_lr
