#pragma once

#include "core/base/result.h"
#include "examples/sparse_lr/line_source.h"
#include "examples/sparse_lr/monitor.h"
#include "worker/worker.h"

// The two ways to train. Every worker calls the same one, over its share of the training file.

namespace shoal::sparse_lr {

/// The table of weights as the job's way to train wants it: FTRL for minibatches, ProximalDiagonal
/// for block mode.
TableSpec weights_spec(const Job& job);

/// Minibatches: `batch` examples a step. The pull of the next step's weights runs while this step
/// computes. Errors: the reader's, those of pulls and pushes.
Status train_minibatches(const Job& job, Share share, Worker& worker, Table<float>& weights,
                         Monitor& monitor);

/// Block mode: delayed block proximal gradient, see BlockSchedule and BlockProblem. Errors: the
/// reader's, those of pulls and pushes, io.
Status train_blocks(const Job& job, Share share, Worker& worker, Table<float>& weights,
                    Monitor& monitor);

}  // namespace shoal::sparse_lr
