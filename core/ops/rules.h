#pragma once

// All built-in update rules: shoal::Ftrl{.l1 = 1e-4} and friends convert to a table's UpdateSpec.
#include "core/ops/gradient_rules.h"  // IWYU pragma: export
#include "core/ops/proximal_rules.h"  // IWYU pragma: export
#include "core/ops/simple_rules.h"    // IWYU pragma: export
