#include "examples/sparse_lr/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "examples/sparse_lr/text.h"

namespace shoal::sparse_lr {
namespace {

constexpr std::size_t kBarColumns = 20;
constexpr std::size_t kLogColumns = 160;

std::string fixed(double number, int digits) {
  char buffer[64];
  const int length = std::snprintf(buffer, sizeof buffer, "%.*f", digits, number);
  return {buffer, std::min(static_cast<std::size_t>(length), sizeof buffer - 1)};
}

std::string rate_text(double per_second) {
  if (per_second >= 1e6) return fixed(per_second / 1e6, 2) + "M";
  if (per_second >= 1e4) return fixed(per_second / 1e3, 0) + "k";
  return fixed(per_second, 0);
}

/// Large objectives lose their fraction, small ones keep what moves.
std::string objective_text(double objective) {
  if (!std::isfinite(objective) || std::abs(objective) < 1000) return fixed(objective, 3);
  if (std::abs(objective) < 1e6) return fixed(objective, 1);
  return grouped(static_cast<unsigned long long>(std::abs(objective)));
}

std::size_t terminal_columns(std::FILE* out) {
  ::winsize size{};
  if (::ioctl(::fileno(out), TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

}  // namespace

std::string progress_line(const ProgressState& state, std::size_t width) {
  const double share =
      state.epochs == 0 ? 0 : std::clamp(state.epoch / static_cast<double>(state.epochs), 0.0, 1.0);
  const auto filled = static_cast<std::size_t>(std::lround(share * kBarColumns));
  const std::string head = "epoch " + fixed(state.epoch, 1) + '/' + std::to_string(state.epochs);
  const std::string tail =
      rate_text(state.examples_per_second) + " examples/s" +
      (state.objective ? "  objective " + objective_text(*state.objective) : std::string()) +
      "  staleness " + std::to_string(state.staleness_seen) + "  moved " + bytes_text(state.bytes);
  const std::string bar =
      "  [" + std::string(filled, '=') + std::string(kBarColumns - filled, ' ') + "]  ";
  const bool bar_fits = head.size() + bar.size() + tail.size() <= width;
  return (head + (bar_fits ? bar : "  ") + tail).substr(0, width);
}

bool Progress::is_terminal(std::FILE* out) { return ::isatty(::fileno(out)) == 1; }

void Progress::show(const ProgressState& state) {
  if (is_terminal_) {
    // The last column stays free: a full line would wrap and could not be rewritten.
    const auto line = progress_line(state, terminal_columns(out_) - 1);
    std::fprintf(out_, "\r%s\x1b[K", line.c_str());
  } else {
    std::fprintf(out_, "%s\n", progress_line(state, kLogColumns).c_str());
  }
  std::fflush(out_);
}

void Progress::update(const ProgressState& state, TimePoint now) {
  if (is_due(now)) looked(state, now);
}

void Progress::looked(const ProgressState& state, TimePoint now) {
  shown_at_ = now;
  show(state);
}

void Progress::finish() {
  if (is_terminal_) std::fputc('\n', out_);
  std::fflush(out_);
}

}  // namespace shoal::sparse_lr
