// The reader of LIBLINEAR models on any file, plain or gzip: it ends, and what it accepts is a
// model.

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "core/base/assert.h"
#include "examples/sparse_lr/model_io.h"
#include "tests/fuzz/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const shoal::MemoryFile file(data, size);
  const auto model = shoal::sparse_lr::read_model(file.path());
  if (!model.ok()) {
    SHOAL_ASSERT(model.error().what.find(file.path()) != std::string::npos, "errors name the file");
    return 0;
  }
  SHOAL_ASSERT(model->classes.negative < model->classes.positive, "the larger label is positive");
  for (const double weight : model->weights) SHOAL_ASSERT(std::isfinite(weight), "weights count");
  return 0;
}
