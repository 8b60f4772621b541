#pragma once

#include <driver_types.h>

#include <cstddef>
#include <cstdint>

// What CudaMath does beside products, issued into a stream. Pointers are to the GPU's memory. What
// goes wrong is told by cudaGetLastError or by what is asked of the stream next.

namespace shoal::mlp {

/// Math::take: `rows` images of `columns` pixels, by their numbers.
struct TakeImages {
  const std::uint8_t* images;
  const std::uint8_t* image_classes;
  const std::uint32_t* order;  ///< of the first row's image
  float mean, factor;
  std::size_t rows, columns;
  float* pixels;
  float* classes;
};
void launch(const TakeImages& work, cudaStream_t stream);

struct AddBias {
  float* values;
  std::size_t rows, columns;
  const float* bias;
  bool relu;
};
void launch(const AddBias& work, cudaStream_t stream);

struct MaskGradients {
  float* gradients;
  const float* outputs;
  std::size_t count;
};
void launch(const MaskGradients& work, cudaStream_t stream);

struct SumColumns {
  const float* values;
  std::size_t rows, columns;
  float* sums;
};
void launch(const SumColumns& work, cudaStream_t stream);

/// Math::softmax. The tally is added up in any order.
struct Softmax {
  float* scores;
  std::size_t rows, columns;
  const float* classes;
  float scale;
  float* tally;
};
void launch(const Softmax& work, cudaStream_t stream);

}  // namespace shoal::mlp
