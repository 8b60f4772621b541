#include "examples/sparse_lr/batch_source.h"

#include <utility>

namespace shoal::sparse_lr {

std::size_t Batch::memory_bytes() const {
  const auto of = [](const auto& array) { return array.capacity() * sizeof(array[0]); };
  return sizeof *this + of(labels) + of(row_ends) + of(columns) + of(values) + of(keys);
}

Result<const Batch*> BatchSource::next() {
  const Batch* none = nullptr;
  if (kept_) return next_ == batches_.size() ? none : batches_[next_++].get();
  SHOAL_TRY(reader_.read(read_, options_.rows_max, options_.entries_max));
  if (read_.empty()) {
    kept_ = fit_;
    next_ = batches_.size();
    return none;
  }
  auto& batch = place();
  fill(batch);
  bytes_ += batch.memory_bytes();
  if (fit_ && bytes_ > options_.memory_bytes) give_up();
  const Batch* made = &batch;
  return made;
}

/// They do not fit: the others of the pass go, those that are lent stay.
void BatchSource::give_up() {
  fit_ = false;
  while (batches_.size() > options_.lent) batches_.pop_front();
}

/// A new one while they are to be kept, else the one that is lent no more.
Batch& BatchSource::place() {
  if (fit_ || batches_.size() < options_.lent) {
    batches_.push_back(std::make_unique<Batch>());
  } else {
    batches_.push_back(std::move(batches_.front()));
    batches_.pop_front();
  }
  return *batches_.back();
}

void BatchSource::fill(Batch& batch) {
  compactor_.compact(read_.keys);
  const auto keys = compactor_.keys();
  const auto columns = compactor_.columns();
  if (fit_) {  // Not a byte more than it needs.
    batch.labels = read_.labels;
    batch.row_ends = read_.row_ends;
    batch.values = read_.values;
  } else {
    batch.labels.swap(read_.labels);
    batch.row_ends.swap(read_.row_ends);
    batch.values.swap(read_.values);
  }
  batch.columns.assign(columns.begin(), columns.end());
  batch.keys.assign(keys.begin(), keys.end());
}

Status BatchSource::rewind() {
  next_ = 0;
  if (kept_) return {};
  if (!batches_.empty()) give_up();  // The pass was broken off, or did not fit.
  return reader_.rewind();
}

}  // namespace shoal::sparse_lr
