#include "examples/mlp_cuda/report.h"

#include <fmt/core.h>

#include <algorithm>

namespace shoal::mlp {
namespace {

double seconds_of(Duration duration) { return std::chrono::duration<double>(duration).count(); }

double rate_of(const Outcome& outcome, std::uint32_t workers) {
  return static_cast<double>(outcome.images) * workers / std::max(outcome.seconds, 1e-9);
}

std::string line(std::string_view name, const std::string& value) {
  return fmt::format("  {:<22} {:>14}\n", name, value);
}

std::string megabytes(std::uint64_t bytes) {
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

}  // namespace

double Report::images_per_second() const { return rate_of(outcome, workers); }

std::string epoch_line(const Outcome& outcome, std::uint32_t epochs, std::uint32_t workers) {
  return fmt::format("epoch {}/{}  loss {:.4f}  test accuracy {:.2f} %  {:.0f} images/s",
                     outcome.epoch, epochs, outcome.train.loss,
                     outcome.test ? 100 * outcome.test->accuracy : 0, rate_of(outcome, workers));
}

std::string table_of(const Report& report) {
  const auto& outcome = report.outcome;
  std::string text = fmt::format("trained on {}\n", report.device);
  if (outcome.test) {
    text += line("test accuracy", fmt::format("{:.2f} %", 100 * outcome.test->accuracy));
    text += line("test loss", fmt::format("{:.4f}", outcome.test->loss));
  }
  text += line("training loss", fmt::format("{:.4f}", outcome.train.loss));
  text += line("workers", fmt::format("{}", report.workers));
  text += line("time", fmt::format("{:.2f} s", outcome.seconds));
  text += line("images/s", fmt::format("{:.0f}", report.images_per_second()));
  if (!report.communication) return text;
  const auto& [traffic, overlap] = *report.communication;
  text += line("pushed", megabytes(traffic.bytes_pushed));
  text += line("pulled", megabytes(traffic.bytes_pulled));
  text += line("communication", fmt::format("{:.2f} s", seconds_of(overlap.communication())));
  text += line("waited for it", fmt::format("{:.2f} s", seconds_of(overlap.blocked())));
  return text + line("communication hidden", fmt::format("{:.1f} %", 100 * overlap.hidden()));
}

std::string json_of(const Report& report) {
  const auto& outcome = report.outcome;
  auto text = fmt::format(
      R"({{"device": "{}", "workers": {}, "epochs": {}, "seconds": {:.6f}, "images_per_second": {:.1f}, )"
      R"("training_loss": {:.6f})",
      report.device, report.workers, outcome.epoch, outcome.seconds, report.images_per_second(),
      outcome.train.loss);
  if (outcome.test)
    text += fmt::format(R"(, "test_accuracy": {:.6f}, "test_loss": {:.6f})", outcome.test->accuracy,
                        outcome.test->loss);
  if (report.communication) {
    const auto& [traffic, overlap] = *report.communication;
    text +=
        fmt::format(R"(, "bytes_pushed": {}, "bytes_pulled": {}, "communication_seconds": {:.6f}, )"
                    R"("waited_seconds": {:.6f}, "communication_hidden": {:.6f})",
                    traffic.bytes_pushed, traffic.bytes_pulled, seconds_of(overlap.communication()),
                    seconds_of(overlap.blocked()), overlap.hidden());
  }
  return text + "}\n";
}

}  // namespace shoal::mlp
