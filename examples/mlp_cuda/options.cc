#include "examples/mlp_cuda/options.h"

#include <fmt/core.h>

#include <charconv>
#include <cstdio>
#include <functional>
#include <optional>
#include <string_view>

#include "core/base/nearest.h"
#include "core/ops/rules.h"

namespace shoal::mlp {
namespace {

constexpr int kWrongUsage = 2;
constexpr std::uint32_t kUnitsMax = 65'536;  // a row of 256 KiB: the widest that a table has
constexpr std::size_t kHiddenMax = 16;

constexpr const char* kIntroduction =
    "Trains a multi-layer perceptron on Fashion-MNIST, its parameters in Shoal, a table a layer.\n";
constexpr const char* kFooter =
    "\nAlone, the program runs a scheduler, servers and workers inside itself. In a cluster:\n"
    "  shoal run --servers 1 --workers 2 -- mlp_cuda --device cuda:0\n";

using Problem = std::optional<std::string>;  // what was expected

/// An option of the command line; one without `value` is a flag.
struct Known {
  std::string_view name, value, meaning;
  std::function<Problem(std::string_view)> take;
};

template <class T>
bool parse(std::string_view text, T& value) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  return code == std::errc{} && end == text.data() + text.size();
}

auto whole(std::uint32_t& into, std::uint32_t low, std::uint32_t high) {
  return [&into, low, high](std::string_view text) -> Problem {
    std::uint32_t value = 0;
    if (!parse(text, value) || value < low || value > high)
      return fmt::format("a whole number from {} to {}", low, high);
    into = value;
    return {};
  };
}

auto number(double& into, double low, double high, const char* expected) {
  return [=, &into](std::string_view text) -> Problem {
    double value = 0;
    if (!parse(text, value) || !(value > low && value < high)) return expected;
    into = value;
    return {};
  };
}

auto text_of(std::string& into) {
  return [&into](std::string_view text) -> Problem {
    into = text;
    return {};
  };
}

auto flag(bool& into) {
  return [&into](std::string_view /*text*/) -> Problem {
    into = true;
    return {};
  };
}

Problem take_hidden(std::vector<std::uint32_t>& hidden, std::string_view text) {
  std::vector<std::uint32_t> taken;
  for (bool more = true; more;) {
    const auto comma = text.find(',');
    more = comma != std::string_view::npos;
    std::uint32_t units = 0;
    if (!parse(text.substr(0, comma), units) || units == 0 || units > kUnitsMax ||
        taken.size() == kHiddenMax)
      return fmt::format("up to {} whole numbers from 1 to {}, as in 256,128", kHiddenMax,
                         kUnitsMax);
    taken.push_back(units);
    if (more) text.remove_prefix(comma + 1);
  }
  hidden = std::move(taken);
  return {};
}

Problem take_update(std::string& update, std::string_view text) {
  if (text != "sgd" && text != "momentum" && text != "adam") return "sgd, momentum or adam";
  update = text;
  return {};
}

Problem take_seed(std::uint64_t& seed, std::string_view text) {
  std::uint32_t value = 0;
  const auto problem = whole(value, 0, 1'000'000)(text);
  if (!problem) seed = value;
  return problem;
}

std::vector<Known> known_options(Options& options) {
  auto& training = options.training;
  return {
      {"--data", "DIR", "Where the data set's files are", text_of(options.data)},
      {"--images", "N", "Learn from the first N images only [0: all]",
       whole(options.images, 0, 1u << 30)},
      {"--device", "NAME", "What the workers compute with: cpu, cuda:0, cuda:1, ... [cpu]",
       text_of(options.device)},
      {"--local", "", "No parameter server: the same loop with parameters of its own",
       flag(options.local)},
      {"--servers", "N", "Servers inside the process, if there is no cluster [1]",
       whole(options.servers, 1, 64)},
      {"--workers", "N", "Workers inside the process, if there is no cluster [1]",
       whole(options.workers, 1, 64)},
      {"--hidden", "N,N,...", "Outputs of each layer but the last [256,128]",
       [&options](std::string_view text) { return take_hidden(options.hidden, text); }},
      {"--epochs", "N", "Passes over the images [10]", whole(training.epochs, 1, 100'000)},
      {"--batch", "N", "Images a step and worker [128]", whole(training.batch, 1, 65'536)},
      {"--update", "RULE", "sgd, momentum or adam [momentum]",
       [&options](std::string_view text) { return take_update(options.update, text); }},
      {"--learning-rate", "X", "Step size of the rule [sgd 0.1, momentum 0.02, adam 0.001]",
       number(options.learning_rate, 0, 1e6, "a number above 0, below 1e6")},
      {"--momentum", "X", "Share of the velocity that is kept [0.9]",
       number(options.momentum, -1e-300, 1, "a number from 0, below 1")},
      {"--staleness", "N", "Steps by which weights may lag behind; 0: in lockstep [1]",
       whole(options.staleness, 0, 1000)},
      {"--evaluate-every", "N", "Epochs between looks at the test images; 0: at the end only [1]",
       whole(training.evaluate_every, 0, 100'000)},
      {"--seed", "N", "Of first values and orders of images [1]",
       [&training](std::string_view text) { return take_seed(training.seed, text); }},
      {"--json", "", "Print the results as one JSON object", flag(options.json)},
  };
}

void print_help(const std::vector<Known>& known) {
  std::printf("%s\nusage: mlp_cuda [options]\n", kIntroduction);
  for (const auto& option : known)
    std::printf("%s", fmt::format("  {:<24} {}\n", fmt::format("{} {}", option.name, option.value),
                                  option.meaning)
                          .c_str());
  std::printf("%s", kFooter);
}

std::string unknown(std::string_view word, const std::vector<Known>& known) {
  if (!word.starts_with('-')) return fmt::format("'{:.40}' is not expected here", word);
  std::vector<std::string_view> names;
  for (const auto& option : known) names.push_back(option.name);
  return fmt::format("there is no option {:.40}{}", word, suggest_name(word, names));
}

/// What is wrong with the words, if anything.
Problem parse_words(const std::vector<std::string_view>& words, const std::vector<Known>& known) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    const auto equals = words[i].find('=');
    const auto name = words[i].substr(0, equals);
    const Known* option = nullptr;
    for (const auto& candidate : known)
      if (candidate.name == name) option = &candidate;
    if (option == nullptr) return unknown(name, known);
    const bool has_value = equals != std::string_view::npos;
    if (option->value.empty() && has_value) return fmt::format("{} takes no value", name);
    std::string_view value;
    if (has_value) {
      value = words[i].substr(equals + 1);
    } else if (!option->value.empty()) {
      if (++i == words.size()) return fmt::format("{} needs a value", name);
      value = words[i];
    }
    if (const auto expected = option->take(value))
      return fmt::format("{}: expected {}, found '{:.40}'", name, *expected, value);
  }
  return {};
}

}  // namespace

UpdateSpec Options::rule() const {
  if (update == "sgd") return Sgd{.learning_rate = learning_rate};
  if (update == "adam") return Adam{.learning_rate = learning_rate};
  return Momentum{.learning_rate = learning_rate, .momentum = momentum};
}

std::variant<Options, int> parse_options(int argc, char** argv) {
  Options options;
  const auto known = known_options(options);
  const std::vector<std::string_view> words(argv + 1, argv + argc);
  for (const auto word : words)
    if (word == "--help" || word == "-h") {
      print_help(known);
      return 0;
    }
  auto wrong = parse_words(words, known);
  if (!wrong && options.local && options.workers > 1)
    wrong = "--local trains alone; leave out --workers";
  if (wrong) {
    std::fprintf(stderr, "mlp_cuda: %s; see --help\n", wrong->c_str());
    return kWrongUsage;
  }
  if (options.learning_rate == 0)
    options.learning_rate = options.update == "sgd" ? 0.1 : options.update == "adam" ? 0.001 : 0.02;
  return options;
}

}  // namespace shoal::mlp
