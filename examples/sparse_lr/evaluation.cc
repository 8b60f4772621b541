#include "examples/sparse_lr/evaluation.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "examples/sparse_lr/logistic.h"

namespace shoal::sparse_lr {
namespace {

constexpr unsigned kBucketBits = 20;  // sign, exponent, 11 bits of the fraction

/// Monotone: a < b as floats exactly if order_of(a) < order_of(b). -0 and 0 are one.
std::uint32_t order_of(float score) {
  const auto bits = std::bit_cast<std::uint32_t>(score + 0.0f);
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}

/// Adds up, over groups of equal scores in ascending order, how many negatives each positive beats.
class RankSum {
 public:
  void add_group(std::uint64_t negatives, std::uint64_t positives) {
    wins_ += static_cast<double>(positives) *
             (static_cast<double>(negatives_) + 0.5 * static_cast<double>(negatives));
    negatives_ += negatives;
    positives_ += positives;
  }
  std::optional<double> auc() const {
    if (negatives_ == 0 || positives_ == 0) return std::nullopt;
    return wins_ / (static_cast<double>(negatives_) * static_cast<double>(positives_));
  }

 private:
  std::uint64_t negatives_ = 0;
  std::uint64_t positives_ = 0;
  double wins_ = 0;
};

}  // namespace

void WeightSums::add(std::span<const float> weights) {
  for (const float weight : weights) {
    l1_ += std::abs(double{weight});
    squares_ += double{weight} * double{weight};
    non_zeros_ += weight != 0;
  }
}

void WeightSums::add(std::span<const double> weights) {
  for (const double weight : weights) {
    l1_ += std::abs(weight);
    squares_ += weight * weight;
    non_zeros_ += weight != 0;
  }
}

void AucCounter::add(double score, bool positive) {
  scores_.push_back({order_of(static_cast<float>(score)), positive});
  if (scores_.size() >= kExactMax) pour_out();
}

void AucCounter::pour_out() {
  buckets_.resize(std::size_t{1} << kBucketBits);
  for (const auto& score : scores_)
    ++buckets_[score.order >> (32 - kBucketBits)].counts[score.positive ? 1 : 0];
  scores_.clear();
}

std::optional<double> AucCounter::auc() {
  RankSum ranks;
  if (!buckets_.empty()) {
    pour_out();
    for (const auto& bucket : buckets_) ranks.add_group(bucket.counts[0], bucket.counts[1]);
    return ranks.auc();
  }
  std::ranges::sort(scores_, {}, &Score::order);
  for (auto group = scores_.begin(); group != scores_.end();) {
    std::uint64_t counts[2] = {};
    const auto order = group->order;
    for (; group != scores_.end() && group->order == order; ++group)
      ++counts[group->positive ? 1 : 0];
    ranks.add_group(counts[0], counts[1]);
  }
  return ranks.auc();
}

void Evaluator::add(std::span<const float> labels, std::span<const double> margins) {
  for (std::size_t row = 0; row < labels.size(); ++row) {
    const bool positive = labels[row] > 0;
    sums_.loss += logistic_loss(double{labels[row]} * margins[row]);
    right_ += (margins[row] > 0) == positive;
    auc_.add(margins[row], positive);
  }
  sums_.examples += labels.size();
}

Evaluation Evaluator::result() {
  auto result = sums_;
  if (result.examples > 0)
    result.accuracy = static_cast<double>(right_) / static_cast<double>(result.examples);
  result.auc = auc_.auc();
  return result;
}

Result<Evaluation> evaluate(LibsvmReader& reader, std::span<const double> weights) {
  constexpr std::size_t kRows = 4096;
  SHOAL_TRY(reader.rewind());
  CsrBatch batch;
  std::vector<double> margins;
  Evaluator evaluator;
  for (;;) {
    SHOAL_TRY(reader.read(batch, kRows));
    if (batch.empty()) return evaluator.result();
    margins.assign(batch.row_count(), 0.0);
    std::size_t entry = 0;
    for (std::size_t row = 0; row < margins.size(); ++row) {
      for (; entry < batch.row_ends[row]; ++entry) {
        const Key key = batch.keys[entry];
        if (key < weights.size()) margins[row] += weights[key] * double{batch.values[entry]};
      }
    }
    evaluator.add(batch.labels, margins);
  }
}

}  // namespace shoal::sparse_lr
