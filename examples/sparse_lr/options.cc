#include "examples/sparse_lr/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string_view>

#include "core/base/nearest.h"
#include "examples/sparse_lr/text.h"

namespace shoal::sparse_lr {
namespace {

constexpr int kWrongCommandLine = 2;
constexpr std::uint32_t kMinibatchEpochs = 20;
constexpr std::uint32_t kBlockEpochs = 60;
constexpr std::uint32_t kCurvePoints = 20;  // that the training is looked at, if nobody says
constexpr std::uint32_t kStalenessMax = 1000;
constexpr std::uint32_t kCountMax = 1u << 24;
constexpr std::size_t kParameterChangesMax = 4096;  // of a table: Table::set_parameter

constexpr const char* kFooter =
    "The objective is  sum log(1 + exp(-y w.x)) + l1 |w| + l2/2 w^2, without a bias term, as\n"
    "LIBLINEAR's -s 6 -c 1/l1.\n\n"
    "Alone, the program runs a scheduler and servers inside itself. In a cluster:\n"
    "  shoal run --servers 2 --workers 4 -- sparse_lr --train a.svm --test b.svm.gz --model m";

/// Takes a number from `low` to `high`, and otherwise says what was expected. CLI11's own Range
/// takes "nan", and names a limit of double by its 309 digits.
template <class T>
CLI::Validator number_in(T low, T high, const std::string& expected) {
  const auto check = [=](const std::string& text) -> std::string {
    const auto* begin = text.data() + (text.starts_with('+') ? 1 : 0);
    const auto* end = text.data() + text.size();
    T value{};
    const auto [stop, code] = std::from_chars(begin, end, value);
    if (code == std::errc{} && stop == end && value >= low && value <= high) return {};
    return "expected " + expected + ", found " + sparse_lr::quoted(text);
  };
  return CLI::Validator(check, "");
}

CLI::Validator whole_number(std::uint64_t low, std::uint64_t high) {
  return number_in(low, high,
                   "a whole number from " + std::to_string(low) + " to " + std::to_string(high));
}

void add_files(CLI::App& app, Options& options) {
  app.add_option("--train", options.train, "libsvm file to learn from; may be gzip")
      ->required()
      ->type_name("FILE");
  app.add_option("--test", options.test, "libsvm file of held-out examples")->type_name("FILE");
  app.add_option("--model", options.model, "Write the model here, in LIBLINEAR's format")
      ->type_name("FILE");
  app.add_option("--csv", options.csv, "Write how the training went here")->type_name("FILE");
  app.add_option("--curve", options.curve, "Draw how the training went here (PNG, by gnuplot)")
      ->type_name("FILE");
  app.add_option("--evaluate", options.evaluate,
                 "Judge this model (LIBLINEAR's format) instead of training one")
      ->type_name("FILE");
}

void add_training(CLI::App& app, Options& options) {
  const auto count = whole_number(1, kCountMax);
  const auto weight =
      number_in(0.0, std::numeric_limits<double>::max(), "a finite number, 0 or more");
  const auto positive =
      number_in(std::numeric_limits<double>::min(), 1e6, "a number above 0, at most 1e6");
  app.add_option("--l1", options.penalty.l1, "Weight of |w|")->check(weight)->capture_default_str();
  app.add_option("--l2", options.penalty.l2, "Weight of w^2 / 2")
      ->check(weight)
      ->capture_default_str();
  app.add_option("--epochs", options.epochs, "Passes over the data [20; with --batch 0: 60]")
      ->check(count);
  app.add_option("--batch", options.batch,
                 "Examples a step of a worker; 0: block proximal gradient on full passes, the "
                 "reference mode")
      ->check(whole_number(0, kCountMax))
      ->capture_default_str();
  app.add_option("--staleness", options.staleness,
                 "Steps by which weights may lag behind other workers; 0: in lockstep")
      ->check(whole_number(0, kStalenessMax))
      ->capture_default_str();
  app.add_flag("--synchronous", options.synchronous,
               "Wait for each pull and push where it is made, instead of computing meanwhile: to "
               "see what that is worth");
  app.add_option("--alpha", options.alpha, "FTRL: step size")
      ->check(positive)
      ->capture_default_str();
  app.add_option("--beta", options.beta, "FTRL: damps the first steps")
      ->check(positive)
      ->capture_default_str();
  app.add_option("--blocks", options.blocks,
                 "--batch 0: parts of the features; a pass is that many steps")
      ->check(whole_number(2, 1u << 16))
      ->capture_default_str();
  app.add_option("--evaluate-every", options.evaluate_every,
                 "Epochs between looks at the whole objective and the held-out examples "
                 "[a twentieth of all]")
      ->check(count);
}

void add_machine(CLI::App& app, Options& options) {
  app.add_option("--scratch", options.scratch,
                 "--batch 0: directory for what --memory-mib does not hold")
      ->type_name("DIR")
      ->capture_default_str();
  app.add_option("--memory-mib", options.memory_mib,
                 "Examples of a share kept in memory from one pass to the next; rank 0 keeps "
                 "as much of each file for its looks")
      ->check(whole_number(0, std::uint64_t{1} << 30))
      ->capture_default_str();
  app.add_option("--servers", options.servers, "Servers inside the process, if there is no cluster")
      ->check(whole_number(1, 64))
      ->capture_default_str();
}

/// What is wrong with the first of the words that no option takes; nothing if there is none.
std::optional<std::string> useless_word(const CLI::App& app) {
  const auto words = app.remaining();
  if (words.empty()) return {};
  const auto& word = words.front();
  if (!word.starts_with('-')) return sparse_lr::quoted(word) + " is not expected here";
  std::vector<std::string> names;
  for (const auto* option : app.get_options())
    for (const auto& name : option->get_lnames()) names.push_back("--" + name);
  const std::vector<std::string_view> known(names.begin(), names.end());
  const auto name = word.substr(0, word.find('='));
  const std::string nearest(nearest_name(name, known));
  return "there is no option " + name +
         (nearest.empty() ? "" : " (did you mean " + sparse_lr::quoted(nearest) + "?)");
}

}  // namespace

std::variant<Options, int> parse_options(int argc, char** argv) {
  Options options;
  CLI::App app("L1-regularised logistic regression on libsvm files, over Shoal.", "sparse_lr");
  app.footer(kFooter);
  app.allow_extras();  // useless_word() says more about them than CLI11 does
  // Later ones win, so that a script's choice can be changed behind it.
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  add_files(app, options);
  add_training(app, options);
  add_machine(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    std::fprintf(stderr, "sparse_lr: %s; see --help\n", error.what());
    return kWrongCommandLine;
  }
  if (const auto wrong = useless_word(app)) {
    std::fprintf(stderr, "sparse_lr: %s; see --help\n", wrong->c_str());
    return kWrongCommandLine;
  }
  if (options.by_blocks() && options.blocks < options.staleness + 2) {
    std::fprintf(stderr, "sparse_lr: --blocks %u is too few for --staleness %u; at least %u\n",
                 options.blocks, options.staleness, options.staleness + 2);
    return kWrongCommandLine;
  }
  const auto raised = std::size_t{options.penalty.l1 > 0} + std::size_t{options.penalty.l2 > 0};
  if (!options.by_blocks() && raised * options.epochs > kParameterChangesMax) {
    std::fprintf(stderr,
                 "sparse_lr: --epochs %u is too many for minibatches, which raise each penalty "
                 "with every pass: at most %zu of them\n",
                 options.epochs, kParameterChangesMax / raised);
    return kWrongCommandLine;
  }
  if (options.epochs == 0) options.epochs = options.by_blocks() ? kBlockEpochs : kMinibatchEpochs;
  if (const char* directory = std::getenv("TMPDIR"); directory != nullptr && *directory != 0)
    options.refuges.emplace_back(directory);
  options.refuges.emplace_back(".");
  if (options.evaluate_every == 0)
    options.evaluate_every = std::max(1u, options.epochs / kCurvePoints);
  return options;
}

}  // namespace shoal::sparse_lr
