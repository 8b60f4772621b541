// A program outside the tree: a cluster inside the process, one push, one pull.

#include <cstdio>
#include <vector>

#include "server/local_cluster.h"
#include "worker/worker.h"

int main() {
  auto cluster = shoal::LocalCluster::start({.servers = 2, .workers = 1});
  if (!cluster.ok()) return std::fprintf(stderr, "%s\n", cluster.error().message().c_str()), 1;
  auto worker = shoal::Worker::connect(cluster->config());
  if (!worker.ok()) return std::fprintf(stderr, "%s\n", worker.error().message().c_str()), 1;

  constexpr std::size_t kRows = 1000;
  auto table =
      worker->create_or_open<float>({.name = "sums", .rows = kRows, .update = shoal::Add{}})
          .value();
  auto values = worker->allocate<float>(kRows).value();
  const std::vector<float> ones(kRows, 1.0f);
  table.push({0, kRows}, ones).wait().value();
  worker->tick();
  table.pull({0, kRows}, values).wait().value();
  for (const float value : values.span())
    if (value != 1.0f) return std::fprintf(stderr, "pulled %g, not 1\n", double{value}), 1;
  std::printf("pushed and pulled %zu rows\n", kRows);
  return 0;
}
