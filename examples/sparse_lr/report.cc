#include "examples/sparse_lr/report.h"

#include <fmt/core.h>

#include <filesystem>
#include <utility>

#include "examples/sparse_lr/model_io.h"
#include "examples/sparse_lr/paths.h"
#include "examples/sparse_lr/text.h"
#include "examples/sparse_lr/weights_view.h"

namespace shoal::sparse_lr {
namespace {

std::string line(std::string_view name, const std::string& value) {
  return fmt::format("  {:<20} {:>16}\n", name, value);
}

Status write_model(const Job& job, Worker& worker, Table<float>& weights, OutputFile file) {
  const auto features = job.summary.index_max;
  SHOAL_ASSIGN(auto writer, ModelWriter::begin(std::move(file), job.summary.classes, features));
  SHOAL_TRY(WeightsView(worker, weights).for_each(features, [&](std::span<const float> piece) {
    writer.add(piece);
  }));
  return writer.commit();
}

/// A path in `directory` at which there is nothing, named after `path`.
std::string free_path(const std::string& directory, const std::string& path) {
  const auto wanted = std::filesystem::path(directory) / std::filesystem::path(path).filename();
  auto free = wanted;
  std::error_code error;
  for (int i = 1; std::filesystem::exists(std::filesystem::symlink_status(free, error)); ++i)
    free = wanted.string() + '.' + std::to_string(i);
  return free.string();
}

/// Writes the model elsewhere, over nothing. None if there is no room anywhere.
std::optional<std::string> save_model(const Job& job, Worker& worker, Table<float>& weights) {
  for (const auto& directory : job.options.refuges) {
    const auto path = free_path(directory, job.options.model);
    auto file = OutputFile::create(path);
    if (file.ok() && write_model(job, worker, weights, std::move(*file)).ok()) return path;
  }
  return {};
}

Status write_curve(const Options& options, const std::vector<CurvePoint>& points,
                   OutputFile& file) {
  const auto title =
      options.by_blocks()
          ? fmt::format("block proximal gradient, staleness {}", options.staleness)
          : fmt::format("FTRL, {} examples a step, staleness {}", options.batch, options.staleness);
  SHOAL_ASSIGN(const auto png, draw_curve(points, title));
  file.write(png);
  return file.commit();
}

}  // namespace

std::string table_of(const Report& report) {
  const auto& model = report.model;
  auto text = line("objective", fmt::format("{:.6f}", model.objective));
  if (model.accuracy) {
    // Held-out examples have an accuracy; of one class, they have no AUC.
    text += model.auc ? line("held-out AUC", fmt::format("{:.5f}", *model.auc))
                      : fmt::format("  {:<20} {:>16} (one class only)\n", "held-out AUC", "-");
    text += line("held-out accuracy", fmt::format("{:.2f} %", 100 * *model.accuracy));
  }
  text += line("non-zeros", grouped(model.non_zeros));
  const auto& team = report.team;
  if (team.examples == 0) return text;
  text += line("traffic", bytes_text(model.bytes));
  text += line("time", fmt::format("{:.2f} s", model.seconds));
  if (model.seconds > 0)
    text +=
        line("examples/s", grouped(static_cast<unsigned long long>(team.examples / model.seconds)));
  const auto most = fmt::format("{:.1f} %", 100 * team.most.share);
  if (report.workers == 1) return text + line("waited", most);
  text += fmt::format("  {:<20} {:>16} (worker {})\n", "waited at most", most, team.most.worker);
  text += fmt::format("  {:<20} {:>14.1f} % (worker {})\n", "waited at least",
                      100 * team.least.share, team.least.worker);
  text += line("workers", fmt::format("{} of {} finished", team.finished, report.workers));
  if (const auto lost = report.workers - team.finished; lost > 0)
    text +=
        fmt::format("  {} lost: the examples of {} were not all seen\n",
                    lost == 1 ? "one was" : "some were", lost == 1 ? "its share" : "their shares");
  return text;
}

Result<Report> judge_model(const Job& job) {
  const auto& options = job.options;
  const LineRules rules{.classes = job.summary.classes};
  SHOAL_ASSIGN(const auto model, read_model(options.evaluate));
  SHOAL_ASSIGN(auto train, LibsvmReader::open(options.train, rules));
  SHOAL_ASSIGN(const auto on_train, evaluate(train, model.weights));
  WeightSums sums;
  sums.add(std::span<const double>(model.weights));
  Report report;
  report.model.objective = on_train.loss + sums.penalty(options.penalty);
  report.model.non_zeros = sums.non_zeros();
  if (!options.test.empty()) {
    SHOAL_ASSIGN(auto test, LibsvmReader::open(options.test, rules));
    SHOAL_ASSIGN(const auto on_test, evaluate(test, model.weights));
    report.model.auc = on_test.auc;
    report.model.accuracy = on_test.accuracy;
  }
  return report;
}

Status check_paths(const Options& options) {
  struct Named {
    const char* option;
    const std::string& path;
  };
  const Named inputs[] = {{"--train", options.train}, {"--test", options.test}};
  const Named outputs[] = {
      {"--model", options.model}, {"--csv", options.csv}, {"--curve", options.curve}};
  std::vector<Named> before(std::begin(inputs), std::end(inputs));
  for (const auto& output : outputs) {
    if (output.path.empty()) continue;
    for (const auto& other : before)
      if (!other.path.empty() && is_same_file(output.path, other.path))
        return Error{Errc::invalid_argument,
                     fmt::format("{} {} and {} {} are the same file, which would be overwritten; "
                                 "name another one",
                                 output.option, output.path, other.option, other.path)};
    before.push_back(output);
  }
  return {};
}

Result<Outputs> Outputs::open(const Job& job) {
  const auto& options = job.options;
  Outputs outputs;
  if (!options.model.empty())
    SHOAL_TRY(check_model(options.model, job.summary.classes, job.summary.index_max));
  for (const auto& [path, file] : {std::pair{&options.model, &outputs.model_},
                                   {&options.csv, &outputs.csv_},
                                   {&options.curve, &outputs.curve_}}) {
    if (path->empty()) continue;
    SHOAL_ASSIGN(auto made, OutputFile::create(*path));
    file->emplace(std::move(made));
  }
  return outputs;
}

Written Outputs::write(const Job& job, Worker& worker, Table<float>& weights,
                       const std::vector<CurvePoint>& points) {
  Written written;
  const auto note = [&written](const char* what, const std::string& path, Status status) {
    if (status.ok())
      written.files.push_back({what, path});
    else
      written.errors.push_back(std::move(status).error());
  };
  if (model_) {
    const auto path = model_->path();
    auto status = write_model(job, worker, weights, *std::exchange(model_, std::nullopt));
    if (!status.ok()) {
      if (const auto refuge = save_model(job, worker, weights)) {
        status =
            Error{status.code(), status.error().what + "; the model is in " + *refuge + " instead",
                  status.error().native};
        written.files.push_back({"model", *refuge});
      }
    }
    note("model", path, std::move(status));
  }
  if (csv_) {
    csv_->write(csv_of(points));
    note("CSV", csv_->path(), csv_->commit());
  }
  if (curve_) note("curve", curve_->path(), write_curve(job.options, points, *curve_));
  return written;
}

}  // namespace shoal::sparse_lr
