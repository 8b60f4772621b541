// The picture of `shoal perf --plot`, by gnuplot.

#include <fcntl.h>
#include <fmt/core.h>
#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <string_view>

#include "core/base/output_path.h"
#include "perf/report.h"

extern char** environ;

namespace shoal::perf {

namespace {

struct FileCloser {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, FileCloser>;

/// In gnuplot's single quotes only the quote itself is special.
std::string quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) {
    result += c == '\n' ? ' ' : c;
    if (c == '\'') result += '\'';
  }
  return result + '\'';
}

std::vector<Op> ops_of(const std::vector<Line>& lines) {
  std::vector<Op> ops;
  for (const auto& line : lines)
    if (std::find(ops.begin(), ops.end(), line.op) == ops.end()) ops.push_back(line.op);
  return ops;
}

std::string data_of(const std::vector<Line>& lines, Op op) {
  auto data = fmt::format("${} << END\n", name_of(op));
  for (const auto& line : lines)
    if (line.op == op)
      data += fmt::format("{} {} {} {}\n", line.bytes, line.latency.p50 / 1e3,
                          line.latency.p99 / 1e3, line.bytes_rate / 1e9);
  return data + "END\n";
}

/// One plot with a curve for each operation: `what` is gnuplot's column and style.
std::string curves(const std::vector<Op>& ops, std::string_view column, std::string_view style,
                   bool named) {
  std::string text;
  for (std::size_t i = 0; i < ops.size(); ++i)
    text += fmt::format("{}${} using 1:{} with linespoints linestyle {} {} {}", i == 0 ? "" : ", ",
                        name_of(ops[i]), column, i + 1, style,
                        named ? fmt::format("title '{}' noenhanced", name_of(ops[i])) : "notitle");
  return text;
}

constexpr const char* kStyle =
    "set encoding utf8\n"
    "set border 3 linewidth 1 linecolor rgb '#8a8f98'\n"
    "set tics nomirror out scale 0.5 textcolor rgb '#5b616b'\n"
    "set grid ytics linewidth 1 linetype 1 linecolor rgb '#e3e6eb'\n"
    "set key top left samplen 2.2 spacing 1.3 textcolor rgb '#30343b'\n"
    "set style line 1 linewidth 2.5 linecolor rgb '#1f6feb' pointtype 7 pointsize 0.6\n"
    "set style line 2 linewidth 2.5 linecolor rgb '#d9730d' pointtype 7 pointsize 0.6\n"
    "set style line 3 linewidth 2.5 linecolor rgb '#1a7f37' pointtype 7 pointsize 0.6\n"
    "set style line 4 linewidth 2.5 linecolor rgb '#8250df' pointtype 7 pointsize 0.6\n"
    "set style line 5 linewidth 2.5 linecolor rgb '#bf3989' pointtype 7 pointsize 0.6\n"
    "set style line 6 linewidth 2.5 linecolor rgb '#57606a' pointtype 7 pointsize 0.6\n"
    "set logscale x 2\n"
    "set xlabel 'bytes of an operation' textcolor rgb '#30343b'\n"
    "set lmargin 11\nset rmargin 3\n";

/// Tics where the sizes are, in steps of eight.
std::string tics_of(const std::vector<Line>& lines) {
  std::size_t most = 8;
  for (const auto& line : lines) most = std::max(most, line.bytes);
  std::string tics;
  for (std::size_t bytes = 8; bytes <= most; bytes *= 8)
    tics += fmt::format("{}'{}' {}", tics.empty() ? "" : ", ", bytes_to_string(bytes), bytes);
  return fmt::format("set xtics ({})\n", tics);
}

/// What gnuplot wrote to its error output, on one line.
std::string complaint_in(std::FILE* file) {
  std::rewind(file);
  std::string text(400, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file));
  std::replace(text.begin(), text.end(), '\n', ' ');
  const auto begin = text.find_first_not_of(' ');
  return begin == text.npos ? "it said nothing" : text.substr(begin);
}

/// Its exit code. On files, not pipes: nothing can block, and its early end raises no SIGPIPE.
Result<int> run_gnuplot(std::FILE* input, std::FILE* complaints) {
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ::fileno(input), 0);
  // Where it cannot open its output it sends the picture to stdout.
  ::posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, ::fileno(complaints), 2);
  std::string name = "gnuplot";
  std::array<char*, 2> arguments = {name.data(), nullptr};
  ::pid_t child = 0;
  const int failure =
      ::posix_spawnp(&child, name.c_str(), &actions, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (failure != 0)
    return Error{Errc::unavailable,
                 "cannot start gnuplot for the picture; install the package gnuplot-nox", failure};
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return Error{Errc::io, "cannot wait for gnuplot", errno};
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool is_whole_png(const std::string& path) {
  using namespace std::string_view_literals;
  constexpr auto kEnd = "IEND\xae\x42\x60\x82"sv;
  const File file(std::fopen(path.c_str(), "rb"));
  std::array<char, kEnd.size()> last{};
  return file != nullptr &&
         std::fseek(file.get(), -static_cast<long>(last.size()), SEEK_END) == 0 &&
         std::fread(last.data(), 1, last.size(), file.get()) == last.size() &&
         std::string_view(last.data(), last.size()) == kEnd;
}

}  // namespace

std::string plot_script(const Settings& settings, const std::vector<Line>& lines,
                        const std::string& png_path) {
  const auto ops = ops_of(lines);
  std::string script;
  for (const auto op : ops) script += data_of(lines, op);
  script += "set terminal pngcairo size 1400,640 font 'DejaVu Sans,12' background rgb 'white'\n";
  script += "set output " + quoted(png_path) + '\n';
  script += kStyle;
  script += tics_of(lines);
  script += fmt::format(
      "set multiplot layout 1,2 title {} noenhanced font ',15'\n",
      quoted(fmt::format("shoal perf: {}, peer {}, {}, {}-driven{}", settings.transport,
                         settings.peer, name_of(settings.wait), name_of(settings.progress),
                         settings.both_ways ? ", both directions" : "")));
  script += "set logscale y\nset ylabel 'latency, one at a time [us]: median, dotted 99 %'\n";
  script += "plot " + curves(ops, "2", "dashtype 1", true) + ", " +
            curves(ops, "3", "dashtype 3", false) + '\n';
  script += "unset logscale y\nset ylabel 'bandwidth, pipelined [GB/s]'\nset yrange [0:*]\n";
  script += "plot " + curves(ops, "4", "dashtype 1", true) + "\nunset multiplot\n";
  return script;
}

Status check_drawing(const std::string& png_path) {
  SHOAL_TRY(check_output(png_path));
  return draw({}, png_path);
}

Status draw(const std::string& script, const std::string& png_path) {
  const File input(std::tmpfile());
  const File complaints(std::tmpfile());
  if (input == nullptr || complaints == nullptr)
    return Error{Errc::io, "cannot make a temporary file for gnuplot's script", errno};
  if (std::fwrite(script.data(), 1, script.size(), input.get()) != script.size() ||
      std::fflush(input.get()) != 0)
    return Error{Errc::io, "cannot write a temporary file for gnuplot's script", errno};
  std::rewind(input.get());
  SHOAL_ASSIGN(const int code, run_gnuplot(input.get(), complaints.get()));
  if (code == 0 && !script.empty() && !is_whole_png(png_path)) {
    std::remove(png_path.c_str());  // gnuplot does not look at what its writing came to
    return Error{Errc::io, png_path + " could not be written whole: is the disk full?"};
  }
  if (code == 0) return {};
  return Error{Errc::io, fmt::format("gnuplot could not draw {}: {}", png_path,
                                     complaint_in(complaints.get()))};
}

}  // namespace shoal::perf
