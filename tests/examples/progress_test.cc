#include "examples/sparse_lr/progress.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "examples/sparse_lr/text.h"

namespace shoal::sparse_lr {
namespace {

using std::chrono::milliseconds;

const ProgressState kState{.epoch = 5,
                           .epochs = 10,
                           .examples_per_second = 1234567,
                           .objective = 4812.34,
                           .staleness_seen = 3,
                           .bytes = 84'100'000};

/// What is printed, in memory.
class Output {
 public:
  Output() : file_(::open_memstream(&text_, &size_)) {}
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;
  ~Output() {
    std::fclose(file_);
    std::free(text_);
  }
  std::FILE* file() { return file_; }
  std::string text() {
    std::fflush(file_);
    return {text_, size_};
  }

 private:
  char* text_ = nullptr;
  std::size_t size_ = 0;
  std::FILE* file_;
};

TEST(Progress, LineTellsEverything) {
  EXPECT_EQ(
      progress_line(kState, 200),
      "epoch 5.0/10  [==========          ]  1.23M examples/s  objective 4812.3  staleness 3  "
      "moved 84.1 MB");
}

TEST(Progress, NarrowTerminalsLoseTheBarFirst) {
  EXPECT_EQ(progress_line(kState, 80),
            "epoch 5.0/10  1.23M examples/s  objective 4812.3  staleness 3  moved 84.1 MB");
  EXPECT_EQ(progress_line(kState, 10), "epoch 5.0/");
}

TEST(Progress, BeforeAnythingIsKnown) {
  EXPECT_EQ(progress_line({}, 200),
            "epoch 0.0/0  [                    ]  0 examples/s  staleness 0  moved 0 B");
}

TEST(Progress, ATerminalLineRewritesItself) {
  Output output;
  Progress progress(output.file(), true);
  const TimePoint start{};
  progress.update(kState, start);
  progress.update(kState, start + milliseconds(99));
  progress.update(kState, start + milliseconds(100));
  progress.looked(kState, start + milliseconds(101));
  progress.finish();
  const auto line = "\r" + progress_line(kState, 79) + "\x1b[K";
  EXPECT_EQ(output.text(), line + line + line + "\n");
}

TEST(Progress, ALogGetsALineAtEachLookAndOtherwiseEveryFewSeconds) {
  Output output;
  Progress progress(output.file(), false);
  const TimePoint start{};
  progress.start(start);
  for (int ms = 0; ms < 5000; ms += 100) progress.update(kState, start + milliseconds(ms));
  EXPECT_EQ(output.text(), "");  // nothing is known yet
  const auto line = progress_line(kState, 160) + "\n";
  progress.update(kState, start + milliseconds(5000));
  EXPECT_EQ(output.text(), line);
  progress.looked(kState, start + milliseconds(6000));
  EXPECT_EQ(output.text(), line + line);
  progress.update(kState, start + milliseconds(6001));  // the same again
  EXPECT_EQ(output.text(), line + line);
  EXPECT_FALSE(progress.is_due(start + milliseconds(10'999)));
  EXPECT_TRUE(progress.is_due(start + milliseconds(11'000)));
  progress.finish();
  EXPECT_EQ(output.text(), line + line);
}

TEST(Text, Numbers) {
  EXPECT_EQ(number_text(-1), "-1");
  EXPECT_EQ(number_text(0.1), "0.1");
  EXPECT_EQ(number_text(100000), "100000");
  EXPECT_EQ(number_text(1e300), "1e+300");
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(1000), "1,000");
  EXPECT_EQ(grouped(1234567), "1,234,567");
  EXPECT_EQ(bytes_text(999), "999 B");
  EXPECT_EQ(bytes_text(1000), "1.0 kB");
  EXPECT_EQ(bytes_text(999'999), "1.0 MB");
  EXPECT_EQ(bytes_text(12'345'678'901), "12.3 GB");
}

}  // namespace
}  // namespace shoal::sparse_lr
