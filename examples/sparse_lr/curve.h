#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/result.h"

namespace shoal::sparse_lr {

/// How the training stood at one moment; the curve has one every epoch.
struct CurvePoint {
  double epoch = 0;                     ///< passes over the data so far
  double seconds = 0;                   ///< since the training began
  double objective = 0;                 ///< on the training data
  std::optional<double> auc = {};       ///< on the held-out data, if it has both classes
  std::optional<double> accuracy = {};  ///< the same, 0..1
  std::uint64_t non_zeros = 0;
  std::uint64_t bytes = 0;  ///< moved so far, all workers
};

/// The points as comma-separated values under a line of names; what is not known is left empty.
std::string csv_of(const std::vector<CurvePoint>& points);

/// The script that makes gnuplot draw the points as a PNG on its standard output: objective falling
/// (left axis), held-out AUC rising (right axis), over epochs. `title` is one line of plain text.
std::string gnuplot_script(const std::vector<CurvePoint>& points, const std::string& title);

/// The PNG, drawn by gnuplot (Debian package gnuplot-nox), which gets the script on its standard
/// input. Errors: invalid_argument (no points), unavailable (gnuplot is not installed), io (with
/// what gnuplot said).
Result<std::string> draw_curve(const std::vector<CurvePoint>& points, const std::string& title);

}  // namespace shoal::sparse_lr
