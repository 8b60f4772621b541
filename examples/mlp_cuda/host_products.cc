#include "examples/mlp_cuda/host_products.h"

#include <algorithm>
#include <cstring>

#include "core/ops/simd.h"

namespace shoal::mlp {
namespace {

// Blocks of a factor: a panel of b (256 x 32) is 32 KiB and stays in the first cache beside what is
// read of a; the block of a (128 x 256) is 128 KiB and stays in the second.
constexpr std::size_t kDepthBlock = 256;
constexpr std::size_t kRowBlock = 128;
constexpr std::size_t kPanelColumns = 32;
constexpr std::size_t kTileRows = 8;  // divides kRowBlock

/// What is added to the product: a block of a, packed in tiles of kTileRows rows, times a panel of
/// b, packed in rows of kPanelColumns.
struct Block {
  const float* a;
  const float* b;
  std::size_t rows, depth, columns;
  float* product;
  std::size_t product_step;
  bool first;  ///< nothing was added before
};

/// Tiles of `Rows` x `Vectors` vectors of `Bytes` bytes, whose sums stay in registers.
template <std::size_t Rows, std::size_t Vectors, std::size_t Bytes>
struct Tile {
  typedef float Vector __attribute__((vector_size(Bytes)));
  static constexpr std::size_t kLanes = Bytes / sizeof(float);
  static constexpr std::size_t kColumns = Vectors * kLanes;
  static_assert(kTileRows % Rows == 0 && kPanelColumns % kColumns == 0);

  static SHOAL_ALWAYS_INLINE void run(const Block& block, std::size_t row, std::size_t column) {
    Vector sums[Rows][Vectors] = {};
    const float* a = block.a + row / kTileRows * kTileRows * block.depth + row % kTileRows;
    const float* b = block.b + column;
    for (std::size_t k = 0; k < block.depth; ++k, a += kTileRows, b += kPanelColumns) {
      Vector of_b[Vectors];
      std::memcpy(of_b, b, sizeof of_b);
#pragma GCC unroll 8
      for (std::size_t i = 0; i < Rows; ++i)
#pragma GCC unroll 4
        for (std::size_t v = 0; v < Vectors; ++v) sums[i][v] += a[i] * of_b[v];
    }
    const auto count = std::min(kColumns, block.columns - column);
    for (std::size_t i = 0; i < Rows && row + i < block.rows; ++i) {
      float sum[kColumns];
      std::memcpy(sum, sums[i], sizeof sum);
      float* out = block.product + (row + i) * block.product_step + column;
      for (std::size_t j = 0; j < count; ++j) out[j] = block.first ? sum[j] : out[j] + sum[j];
    }
  }
  static SHOAL_ALWAYS_INLINE void run_all(const Block& block) {
    for (std::size_t column = 0; column < block.columns; column += kColumns)
      for (std::size_t row = 0; row < block.rows; row += Rows) run(block, row, column);
  }
};

// Sums fill the registers: 16 of 32 (AVX-512), 8 of 16.
void add_baseline(const Block& block) { Tile<4, 2, 16>::run_all(block); }
#if SHOAL_HAS_X86_TARGETS
__attribute__((target("avx2,fma"))) void add_avx2(const Block& block) {
  Tile<4, 2, 32>::run_all(block);
}
SHOAL_TARGET_AVX512 void add_avx512(const Block& block) { Tile<8, 2, 64>::run_all(block); }
#endif

using Add = void(const Block&);
Add* widest_add() {
#if SHOAL_HAS_X86_TARGETS
  const auto simd = host::widest_simd();
  if (simd == host::Simd::avx512) return add_avx512;
  if (simd == host::Simd::avx2 && __builtin_cpu_supports("fma") != 0) return add_avx2;
#endif
  return add_baseline;
}

/// Tiles of kTileRows rows, column after column; rows beyond the last are zeros.
void pack_a(const Strided& a, std::size_t rows, std::size_t depth, float* packed) {
  for (std::size_t tile = 0; tile < rows; tile += kTileRows) {
    const auto here = std::min(kTileRows, rows - tile);
    const float* from = a.values + tile * a.row_step;
    if (here < kTileRows) std::fill_n(packed, kTileRows * depth, 0.0f);
    if (a.row_step == 1) {
      for (std::size_t k = 0; k < depth; ++k)
        std::copy_n(from + k * a.column_step, here, packed + k * kTileRows);
    } else {
      for (std::size_t i = 0; i < here; ++i)
        for (std::size_t k = 0; k < depth; ++k)
          packed[k * kTileRows + i] = from[i * a.row_step + k * a.column_step];
    }
    packed += kTileRows * depth;
  }
}

/// Rows of kPanelColumns values; those beyond the last column are zeros.
void pack_b(const Strided& b, std::size_t depth, std::size_t columns, float* packed) {
  if (columns < kPanelColumns) std::fill_n(packed, kPanelColumns * depth, 0.0f);
  if (b.column_step == 1) {
    for (std::size_t k = 0; k < depth; ++k)
      std::copy_n(b.values + k * b.row_step, columns, packed + k * kPanelColumns);
  } else {
    for (std::size_t j = 0; j < columns; ++j)
      for (std::size_t k = 0; k < depth; ++k)
        packed[k * kPanelColumns + j] = b.values[k * b.row_step + j * b.column_step];
  }
}

Strided part(const Strided& matrix, std::size_t row, std::size_t column) {
  return {matrix.values + row * matrix.row_step + column * matrix.column_step, matrix.row_step,
          matrix.column_step};
}

}  // namespace

HostProducts::HostProducts()
    : packed_a_(kRowBlock * kDepthBlock), packed_b_(kPanelColumns * kDepthBlock) {}

void HostProducts::multiply(const Strided& a, const Strided& b, float* product, std::size_t rows,
                            std::size_t depth, std::size_t columns,
                            const std::function<void()>& between) {
  static Add* const add = widest_add();
  for (std::size_t k = 0; k < depth; k += kDepthBlock) {
    const auto depth_here = std::min(kDepthBlock, depth - k);
    for (std::size_t i = 0; i < rows; i += kRowBlock) {
      const auto rows_here = std::min(kRowBlock, rows - i);
      pack_a(part(a, i, k), rows_here, depth_here, packed_a_.data());
      for (std::size_t j = 0; j < columns; j += kPanelColumns) {
        const auto columns_here = std::min(kPanelColumns, columns - j);
        pack_b(part(b, k, j), depth_here, columns_here, packed_b_.data());
        add({packed_a_.data(), packed_b_.data(), rows_here, depth_here, columns_here,
             product + i * columns + j, columns, k == 0});
        if (between) between();
      }
    }
  }
}

}  // namespace shoal::mlp
