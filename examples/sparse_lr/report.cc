#include "examples/sparse_lr/report.h"

#include <fmt/core.h>

#include <utility>

#include "examples/sparse_lr/model_io.h"
#include "examples/sparse_lr/text.h"
#include "examples/sparse_lr/weights_view.h"

namespace shoal::sparse_lr {
namespace {

std::string line(std::string_view name, const std::string& value) {
  return fmt::format("  {:<20} {:>16}\n", name, value);
}

}  // namespace

std::string table_of(const Report& report) {
  const auto& model = report.model;
  auto text = line("objective", fmt::format("{:.6f}", model.objective));
  if (model.auc) text += line("held-out AUC", fmt::format("{:.5f}", *model.auc));
  if (model.accuracy)
    text += line("held-out accuracy", fmt::format("{:.2f} %", 100 * *model.accuracy));
  text += line("non-zeros", grouped(model.non_zeros));
  if (report.examples == 0) return text;
  text += line("traffic", bytes_text(model.bytes));
  text += line("time", fmt::format("{:.2f} s", report.seconds));
  if (report.seconds > 0)
    text += line("examples/s",
                 grouped(static_cast<unsigned long long>(report.examples / report.seconds)));
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

Result<Outputs> Outputs::open(const Options& options) {
  Outputs outputs;
  if (!options.model.empty()) {
    SHOAL_ASSIGN(auto file, OutputFile::create(options.model));
    outputs.model_.emplace(std::move(file));
  }
  if (!options.csv.empty()) {
    SHOAL_ASSIGN(auto file, OutputFile::create(options.csv));
    outputs.csv_.emplace(std::move(file));
  }
  // gnuplot makes the picture itself; here it is only seen that there is a place for it.
  if (!options.curve.empty()) SHOAL_TRY(OutputFile::create(options.curve));
  return outputs;
}

Status Outputs::write_model(const Job& job, Worker& worker, Table<float>& weights) {
  const auto features = job.summary.index_max;
  SHOAL_ASSIGN(auto writer, ModelWriter::begin(*std::exchange(model_, std::nullopt),
                                               job.summary.classes, features));
  SHOAL_TRY(WeightsView(worker, weights).for_each(features, [&](std::span<const float> piece) {
    writer.add(piece);
  }));
  return writer.commit();
}

Status Outputs::write(const Job& job, Worker& worker, Table<float>& weights,
                      const std::vector<CurvePoint>& points) {
  Status first;
  const auto keep = [&first](Status status) {
    if (first.ok()) first = std::move(status);
  };
  if (model_) keep(write_model(job, worker, weights));
  if (csv_) {
    csv_->write(csv_of(points));
    keep(csv_->commit());
  }
  const auto& options = job.options;
  if (!options.curve.empty()) {
    const auto title = options.by_blocks()
                           ? fmt::format("block proximal gradient, staleness {}", options.staleness)
                           : fmt::format("FTRL, {} examples a step, staleness {}", options.batch,
                                         options.staleness);
    keep(draw_curve(points, title, options.curve));
  }
  return first;
}

}  // namespace shoal::sparse_lr
