#pragma once

#include <cstdlib>
#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace shoal::e2e {

/// A command line: words, of which those with a '=' are options.
struct Words {
  std::vector<std::string> plain;
  std::map<std::string, std::string> options;

  explicit Words(const std::string& line) {
    std::istringstream in(line);
    for (std::string word; in >> word;) {
      const auto equals = word.find('=');
      if (equals == std::string::npos)
        plain.push_back(word);
      else
        options[word.substr(0, equals)] = word.substr(equals + 1);
    }
  }
  std::string word(std::size_t i) const { return i < plain.size() ? plain[i] : std::string(); }
  bool has(const std::string& name) const { return options.contains(name); }
  std::string text(const std::string& name, const std::string& otherwise = {}) const {
    const auto found = options.find(name);
    return found == options.end() ? otherwise : found->second;
  }
  std::int64_t number(const std::string& name, std::int64_t otherwise = 0) const {
    return has(name) ? std::strtoll(text(name).c_str(), nullptr, 0) : otherwise;
  }
};

}  // namespace shoal::e2e
