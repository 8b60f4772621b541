#pragma once

#include <cstdint>

#include "core/base/host_device.h"
#include "core/ops/math.h"

namespace shoal {

/// What values come to, in double, in which the square of an f32 is exact. Values that are not
/// finite are counted, and left out of the rest.
struct Norms {
  double squares = 0;            ///< the sum of x^2: the L2 norm is its root
  double magnitudes = 0;         ///< the sum of |x|: the L1 norm
  double greatest = 0;           ///< the largest |x|: the L-infinity norm
  std::uint64_t not_finite = 0;  ///< NaN and infinities

  SHOAL_HOST_DEVICE void add(double x) {
    const double size = math::magnitude(x);
    const bool finite = size - size == 0;
    const double counted = finite ? size : 0;
    squares += counted * counted;
    magnitudes += counted;
    greatest = counted > greatest ? counted : greatest;
    not_finite += finite ? 0 : 1;
  }
  SHOAL_HOST_DEVICE void add(const Norms& others) {
    squares += others.squares;
    magnitudes += others.magnitudes;
    greatest = others.greatest > greatest ? others.greatest : greatest;
    not_finite += others.not_finite;
  }
};

}  // namespace shoal
