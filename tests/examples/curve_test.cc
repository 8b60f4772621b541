#include "examples/sparse_lr/curve.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include "tests/examples/scratch_files.h"

namespace shoal::sparse_lr {
namespace {

const std::vector<CurvePoint> kPoints{
    {.epoch = 1,
     .seconds = 0.5,
     .objective = 9000.25,
     .auc = 0.75,
     .accuracy = 0.5,
     .non_zeros = 3,
     .bytes = 10},
    {.epoch = 2.5, .seconds = 1, .objective = 100000, .non_zeros = 2, .bytes = 20}};

TEST(Curve, CsvHasALineAPointAndLeavesOutWhatIsUnknown) {
  EXPECT_EQ(csv_of(kPoints),
            "epoch,seconds,objective,auc,accuracy,non_zeros,bytes\n"
            "1,0.5,9000.25,0.75,0.5,3,10\n"
            "2.5,1,100000,,,2,20\n");
}

TEST(Curve, ScriptQuotesTheTitle) {
  const auto script = gnuplot_script(kPoints, "Moses' `rm -rf` {x}\nsecond");
  EXPECT_NE(script.find("set title 'Moses'' `rm -rf` {x} second' noenhanced"), std::string::npos);
  EXPECT_NE(script.find("1 9000.25 0.75\n2.5 100000 NaN\n"), std::string::npos);
  EXPECT_NE(script.find("y2label"), std::string::npos);
}

TEST(Curve, WithoutHeldOutExamplesThereIsOneAxis) {
  const auto script = gnuplot_script({{.epoch = 1, .objective = 2}}, "t");
  EXPECT_EQ(script.find("y2"), std::string::npos);
}

TEST(Curve, GnuplotDrawsAPicture) {
  if (!is_installed("gnuplot")) GTEST_SKIP() << "gnuplot is not installed";
  const auto png = draw_curve(kPoints, "It's {a} test");
  ASSERT_TRUE(png.ok()) << png.error().message();
  EXPECT_EQ(png->substr(0, 8), "\x89PNG\r\n\x1a\n");
  EXPECT_GT(png->size(), 1000u);
  // One point, and no AUC, are pictures too.
  EXPECT_TRUE(draw_curve({{.epoch = 1, .objective = 2}}, "t").ok());
}

TEST(Curve, FailuresAreTold) {
  const ScratchFiles files;
  EXPECT_EQ(draw_curve({}, "t").code(), Errc::invalid_argument);
  const std::string before = ::getenv("PATH");
  ::setenv("PATH", files.directory().c_str(), 1);
  const auto status = draw_curve(kPoints, "t");
  ::setenv("PATH", before.c_str(), 1);
  ASSERT_EQ(status.code(), Errc::unavailable);
  EXPECT_NE(status.error().what.find("gnuplot-nox"), std::string::npos);
}

}  // namespace
}  // namespace shoal::sparse_lr
