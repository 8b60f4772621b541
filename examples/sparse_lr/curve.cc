#include "examples/sparse_lr/curve.h"

#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <string_view>

#include "examples/sparse_lr/text.h"

extern char** environ;

namespace shoal::sparse_lr {
namespace {

struct FileCloser {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, FileCloser>;

/// Far above the tens of KiB that a picture of 1280 x 720 has.
constexpr std::size_t kPngBytesMax = 4 << 20;

/// A string in gnuplot's single quotes, where only the quote itself is special.
std::string single_quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) {
    result += c == '\n' ? ' ' : c;
    if (c == '\'') result += '\'';
  }
  return result + '\'';
}

std::string optional_text(const std::optional<double>& number) {
  return number ? number_text(*number) : "";
}

bool has_auc(const std::vector<CurvePoint>& points) {
  return std::ranges::any_of(points, [](const CurvePoint& p) { return p.auc.has_value(); });
}

/// Everything that does not depend on the data: paper, frame, grid, colours.
constexpr const char* kStyle =
    "set encoding utf8\n"
    "set border 3 linewidth 1 linecolor rgb '#8a8f98'\n"
    "set tics nomirror out scale 0.5 textcolor rgb '#5b616b'\n"
    "set grid ytics linewidth 1 linetype 1 linecolor rgb '#e3e6eb'\n"
    "set key at graph 0.98, graph 0.5 right center samplen 2.2 spacing 1.5 textcolor rgb "
    "'#30343b'\n"
    "set style line 1 linewidth 3 linecolor rgb '#1f6feb' pointtype 7 pointsize 0.55\n"
    "set style line 2 linewidth 3 linecolor rgb '#d9730d' pointtype 7 pointsize 0.55\n"
    "set xlabel 'epochs (passes over the data)' textcolor rgb '#30343b' offset 0,0.2\n"
    "set ylabel 'training objective' textcolor rgb '#1f6feb' offset 0.5,0\n"
    "set lmargin 11\nset bmargin 4.2\nset tmargin 3.6\n";

/// A nameless file in memory: no disk that is full or read-only has a say in it.
File memory_file() {
  const int descriptor = ::memfd_create("sparse_lr", MFD_CLOEXEC);
  return File(descriptor < 0 ? nullptr : ::fdopen(descriptor, "w+"));
}

/// The file's first bytes, `bytes_max` at most.
std::string content_of(std::FILE* file, std::size_t bytes_max) {
  std::rewind(file);
  std::string text(bytes_max, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file));
  return text;
}

bool is_whole_png(std::string_view bytes) {
  using namespace std::string_view_literals;
  return bytes.starts_with("\x89PNG\r\n\x1a\n"sv) && bytes.ends_with("IEND\xae\x42\x60\x82"sv);
}

/// What gnuplot wrote to its error output, on one line.
std::string complaint_in(std::FILE* file) {
  auto text = content_of(file, 400);
  std::ranges::replace(text, '\n', ' ');
  const auto begin = text.find_first_not_of(' ');
  const auto end = text.find_last_not_of(' ');
  return begin == text.npos ? "it said nothing" : text.substr(begin, end - begin + 1);
}

/// Runs gnuplot on files, not pipes: nothing can block, and its early end raises no SIGPIPE.
Result<int> run_gnuplot(std::FILE* input, std::FILE* picture, std::FILE* complaints) {
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ::fileno(input), 0);
  ::posix_spawn_file_actions_adddup2(&actions, ::fileno(picture), 1);
  ::posix_spawn_file_actions_adddup2(&actions, ::fileno(complaints), 2);
  std::string name = "gnuplot";
  char* arguments[] = {name.data(), nullptr};
  ::pid_t child = 0;
  const int failure = ::posix_spawnp(&child, "gnuplot", &actions, nullptr, arguments, environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (failure != 0)
    return Error{Errc::unavailable,
                 "cannot start gnuplot for the loss curve; install the package gnuplot-nox",
                 failure};
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return Error{Errc::io, "cannot wait for gnuplot", errno};
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

std::string csv_of(const std::vector<CurvePoint>& points) {
  std::string csv = "epoch,seconds,objective,auc,accuracy,non_zeros,bytes\n";
  for (const auto& point : points)
    csv += number_text(point.epoch) + ',' + number_text(point.seconds) + ',' +
           number_text(point.objective) + ',' + optional_text(point.auc) + ',' +
           optional_text(point.accuracy) + ',' + std::to_string(point.non_zeros) + ',' +
           std::to_string(point.bytes) + '\n';
  return csv;
}

std::string gnuplot_script(const std::vector<CurvePoint>& points, const std::string& title) {
  const bool auc = has_auc(points);
  std::string script = "$points << END\n";
  for (const auto& point : points)
    script += number_text(point.epoch) + ' ' + number_text(point.objective) + ' ' +
              (point.auc ? number_text(*point.auc) : "NaN") + '\n';
  script += "END\n";
  script += "set terminal pngcairo size 1280,720 font 'DejaVu Sans,14' background rgb 'white'\n";
  script += kStyle;
  script += "set title " + single_quoted(title) +
            " noenhanced font ',17' textcolor rgb '#16191d' offset 0,0.3\n";
  if (auc)
    script +=
        "set border 11\nset rmargin 11\nset y2tics out scale 0.5\nset format y2 '%.3f'\n"
        "set y2label 'AUC, held-out examples' textcolor rgb '#d9730d' offset -0.5,0\n";
  else
    script += "set rmargin 4\n";
  const std::string style = points.size() > 60 ? "lines" : "linespoints";
  script += "plot $points using 1:2 with " + style + " linestyle 1 title 'training objective'";
  if (auc)
    script += ", $points using 1:3 axes x1y2 with " + style + " linestyle 2 title 'held-out AUC'";
  return script + "\n";
}

Result<std::string> draw_curve(const std::vector<CurvePoint>& points, const std::string& title) {
  if (points.empty())
    return Error{Errc::invalid_argument, "cannot draw the curve: there are no points yet"};
  const auto input = memory_file();
  const auto picture = memory_file();
  const auto complaints = memory_file();
  if (input == nullptr || picture == nullptr || complaints == nullptr)
    return Error{Errc::io, "cannot make files in memory for gnuplot", errno};
  const auto script = gnuplot_script(points, title);
  if (std::fwrite(script.data(), 1, script.size(), input.get()) != script.size() ||
      std::fflush(input.get()) != 0)
    return Error{Errc::io, "cannot make files in memory for gnuplot", errno};
  std::rewind(input.get());
  SHOAL_ASSIGN(const int code, run_gnuplot(input.get(), picture.get(), complaints.get()));
  auto png = content_of(picture.get(), kPngBytesMax);
  if (code == 0 && is_whole_png(png)) return png;
  return Error{Errc::io, "gnuplot could not draw the curve: " + complaint_in(complaints.get())};
}

}  // namespace shoal::sparse_lr
