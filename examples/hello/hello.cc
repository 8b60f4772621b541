// The smallest Shoal program: workers add to a dense table together and read the sum.
//   shoal run --servers 1 --workers 2 -- ./hello

#include <cstdio>
#include <vector>

#include "worker/worker.h"

int main() {
  auto config = shoal::Config::from_env();
  if (!config.ok()) return std::fprintf(stderr, "%s\n", config.error().message().c_str()), 1;
  auto connected = shoal::Worker::connect(*config);
  if (!connected.ok()) return std::fprintf(stderr, "%s\n", connected.error().message().c_str()), 1;
  auto& worker = *connected;

  constexpr std::size_t kRows = 1'000'000;
  auto sums = worker.create_or_open<float>({.name = "sums", .rows = kRows}).value();
  auto values = worker.allocate<float>(kRows).value();
  const std::vector<float> ones(kRows, 1.0f);

  for (int round = 0; round < 10; ++round) {
    sums.push({0, kRows}, ones).wait().value();    // this round's contribution
    worker.tick();                                 // done with this round
    sums.pull({0, kRows}, values).wait().value();  // every worker's rounds so far
  }
  std::printf("worker %u of %u: every row is %g\n", worker.rank().value, worker.worker_count(),
              static_cast<double>(values[kRows - 1]));
  return worker.leave().ok() ? 0 : 1;
}
