#pragma once

#include <string>
#include <string_view>

namespace shoal::sparse_lr {

/// `text` in quotes for a message: at most 40 characters, unprintable bytes as '?'.
std::string quoted(std::string_view text);

/// The shortest text that reads back as `number`: 1, -1, 0.5.
std::string number_text(double number);

/// 1234567 as "1,234,567".
std::string grouped(unsigned long long number);

/// Bytes with a decimal unit: "12.3 MB".
std::string bytes_text(unsigned long long bytes);

}  // namespace shoal::sparse_lr
