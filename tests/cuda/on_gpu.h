#pragma once

#include <gtest/gtest.h>

#include "cuda/gpus.h"

/// Skips a test with the reason where there is no GPU.
#define SHOAL_NEEDS_GPU()                                   \
  do {                                                      \
    if (const auto gpus = ::shoal::find_gpus(); !gpus.ok()) \
      GTEST_SKIP() << "no GPU here: " << gpus.error().what; \
  } while (false)
