#include "examples/sparse_lr/block_problem.h"

#include <algorithm>

#include "core/base/assert.h"
#include "examples/sparse_lr/logistic.h"

namespace shoal::sparse_lr {
namespace {

/// Keeps u above 0 where every example of a feature is far from the boundary (exp underflows), so
/// that l1 still acts; too large a bound is safe.
constexpr float kCurvatureMin = 1e-3f;

/// Takes `count` values of T off the front of `bytes`.
template <class T>
std::span<const T> take(std::span<const std::byte>& bytes, std::size_t count) {
  const std::span values(reinterpret_cast<const T*>(bytes.data()), count);
  bytes = bytes.subspan(values.size_bytes());
  return values;
}

}  // namespace

Result<BlockProblem::PieceView> BlockProblem::load_piece(std::size_t chunk, std::uint32_t block) {
  const auto& piece = pieces_[chunk * schedule_.blocks + block];
  if (piece.rows == 0) return PieceView{};
  SHOAL_ASSIGN(std::span<const std::byte> bytes, pages_.load(piece.page, piece_scratch_));
  PieceView view;
  view.rows = take<std::uint32_t>(bytes, piece.rows);
  view.row_ends = take<std::uint32_t>(bytes, piece.rows);
  view.couplings = take<float>(bytes, piece.rows);
  view.columns = take<std::uint32_t>(bytes, piece.entries);
  view.values = take<float>(bytes, piece.entries);
  return view;
}

Result<std::span<BlockProblem::RowState>> BlockProblem::load_states(std::size_t chunk) {
  SHOAL_ASSIGN(const auto bytes, pages_.load(state_pages_[chunk], state_scratch_));
  return std::span(reinterpret_cast<RowState*>(bytes.data()), bytes.size() / sizeof(RowState));
}

/// The margin has moved by `way`.
void BlockProblem::refresh(RowState& state, double way) const {
  state.margin += way;
  // Until it is pulled again the margin may go on moving in each of the rounds in flight.
  const auto reach = static_cast<float>(2 * (1 + schedule_.staleness) * std::abs(way));
  state.reach = std::max(reach, state.reach / 2);
  const auto margin = static_cast<float>(state.margin);
  state.slope = -state.label * error_chance(state.label * margin);
  state.curvature = std::max(curvature_bound(margin, state.reach), kCurvatureMin);
}

Status BlockProblem::move_margins(std::size_t chunk, std::uint32_t block) {
  SHOAL_ASSIGN(const auto piece, load_piece(chunk, block));
  if (piece.rows.empty()) return {};
  SHOAL_ASSIGN(const auto states, load_states(chunk));
  std::uint32_t entry = 0;
  bool changed = false;
  for (std::size_t r = 0; r < piece.rows.size(); ++r) {
    double way = 0;
    for (; entry < piece.row_ends[r]; ++entry)
      way += double{moves_[piece.columns[entry]]} * double{piece.values[entry]};
    if (way == 0) continue;
    refresh(states[piece.rows[r]], way);
    changed = true;
  }
  return changed ? pages_.keep(state_pages_[chunk], std::as_bytes(states)) : Status{};
}

Status BlockProblem::set_weights(std::uint32_t block, std::span<const float> weights) {
  auto& mine = blocks_[block];
  SHOAL_ASSERT(weights.size() == mine.keys.size(), "one weight a key");
  bool moved = false;
  for (std::size_t column = 0; column < mine.keys.size(); ++column) {
    const float now = weights[mine.place[column]];
    moves_[column] = now - mine.weights[column];
    moved |= moves_[column] != 0;
    // What the margins have been moved to; where the difference is not exact the rest goes next
    // time.
    mine.weights[column] += moves_[column];
  }
  for (std::size_t chunk = 0; moved && chunk < chunk_count(); ++chunk)
    SHOAL_TRY(move_margins(chunk, block));
  return {};
}

Status BlockProblem::gradient(std::uint32_t block, std::span<float> gradients_and_bounds) {
  const auto& mine = blocks_[block];
  SHOAL_ASSERT(gradients_and_bounds.size() == 2 * mine.keys.size(), "two values a key");
  std::fill_n(sums_.begin(), mine.keys.size(), Sums{});
  for (std::size_t chunk = 0; chunk < chunk_count(); ++chunk) {
    SHOAL_ASSIGN(const auto piece, load_piece(chunk, block));
    if (piece.rows.empty()) continue;
    SHOAL_ASSIGN(const auto states, load_states(chunk));
    std::uint32_t entry = 0;
    for (std::size_t r = 0; r < piece.rows.size(); ++r) {
      const auto& state = states[piece.rows[r]];
      const double slope = double{state.slope};
      const double weight = double{state.curvature} * double{piece.couplings[r]};
      for (; entry < piece.row_ends[r]; ++entry) {
        auto& sums = sums_[piece.columns[entry]];
        const double value = double{piece.values[entry]};
        sums.gradient += slope * value;
        sums.bound += weight * std::abs(value);
      }
    }
  }
  const double share = 1.0 / (1 + schedule_.staleness);
  for (std::size_t column = 0; column < mine.keys.size(); ++column) {
    const auto place = mine.place[column];
    gradients_and_bounds[2 * place] = static_cast<float>(sums_[column].gradient);
    gradients_and_bounds[2 * place + 1] = static_cast<float>(share * sums_[column].bound);
  }
  return {};
}

Result<double> BlockProblem::loss() {
  double total = 0;
  for (std::size_t chunk = 0; chunk < chunk_count(); ++chunk) {
    SHOAL_ASSIGN(const auto states, load_states(chunk));
    for (const auto& state : states) total += logistic_loss(double{state.label} * state.margin);
  }
  return total;
}

}  // namespace shoal::sparse_lr
