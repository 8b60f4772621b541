#include "examples/sparse_lr/model_io.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "examples/sparse_lr/evaluation.h"
#include "tests/examples/scratch_files.h"

namespace shoal::sparse_lr {
namespace {

void write_model(const std::string& path, const Classes& classes,
                 const std::vector<float>& weights) {
  auto writer =
      ModelWriter::begin(OutputFile::create(path).value(), classes, weights.size()).value();
  writer.add(std::span(weights).first(weights.size() / 2));
  writer.add(std::span(weights).subspan(weights.size() / 2));
  ASSERT_TRUE(writer.commit().ok());
}

TEST(ModelIo, WritesWhatLiblinearWrites) {
  const ScratchFiles files;
  write_model(files.path("m"), {-1, 1}, {0.25f, -0.0f, -1e-6f});
  EXPECT_EQ(
      ScratchFiles::read(files.path("m")),
      "solver_type L1R_LR\nnr_class 2\nlabel 1 -1\nnr_feature 3\nbias -1\nw\n0.25\n0\n-1e-06\n");
}

TEST(ModelIo, ReadsWhatItWrote) {
  const ScratchFiles files;
  const std::vector<float> weights{0.1f, 0, -3.4e38f, 1e-40f};
  write_model(files.path("m"), {0, 100000}, weights);
  const auto model = read_model(files.path("m")).value();
  EXPECT_EQ(model.classes, (Classes{0, 100000}));
  ASSERT_EQ(model.weights.size(), 4u);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(static_cast<float>(model.weights[i]), weights[i]);
}

TEST(ModelIo, TurnsModelsWhoseFirstLabelIsTheSmaller) {
  const ScratchFiles files;
  const auto path = files.write(
      "m", "solver_type L2R_LR\nnr_class 2\nlabel 1 2\nnr_feature 2\nbias -1\nw\n0.5 \n-2 \n");
  const auto model = read_model(path).value();
  EXPECT_EQ(model.classes, (Classes{1, 2}));
  EXPECT_EQ(model.weights, (std::vector<double>{-0.5, 2}));
}

TEST(ModelIo, SaysWhatWasExpected) {
  const ScratchFiles files;
  const auto m = files.path("m");
  const auto message = [&](const std::string& text) {
    const auto model = read_model(files.write("m", text));
    return model.ok() ? std::string("ok") : model.error().what;
  };
  const std::string head = "solver_type L1R_LR\nnr_class 2\nlabel 1 -1\nnr_feature 2\nbias -1\nw\n";
  EXPECT_EQ(message(head + "1\n2\n"), "ok");
  EXPECT_EQ(message(head + "1\n"), m + ": expected 2 weights after 'w', found 1");
  EXPECT_EQ(message(head + "1\nx\n"), m + ":8: expected a weight (one number a line), found 'x'");
  EXPECT_EQ(message(head + "1\nnan\n"),
            m + ":8: expected a weight (one number a line), found 'nan'");
  EXPECT_EQ(message("nr_class 3\n"),
            m + ":1: expected nr_class 2 (a model of two classes), found 'nr_class 3'");
  EXPECT_EQ(message("nr_class 2\nbias 1\n"),
            m + ":2: expected bias -1 (a model trained without -B), found 'bias 1'");
  EXPECT_EQ(message("label 1 1\n"),
            m + ":1: expected label and two different labels, found 'label 1 1'");
  EXPECT_EQ(message("label 1\n"),
            m + ":1: expected label and two different labels, found 'label 1'");
  EXPECT_EQ(message("nr_feature -2\n"),
            m + ":1: expected nr_feature and a number of features, found 'nr_feature -2'");
  EXPECT_EQ(message("solver_type L2R_L2LOSS_SVR\n"),
            m + ":1: expected a classifier's solver_type, found 'L2R_L2LOSS_SVR'");
  EXPECT_NE(message("").find("expected a LIBLINEAR model"), std::string::npos);
  EXPECT_EQ(read_model(files.path("absent")).code(), Errc::io);
}

TEST(ModelIo, RefusesWhatTheFormatCannotHold) {
  const ScratchFiles files;
  const auto begin = [&](const Classes& classes, std::uint64_t features) {
    return ModelWriter::begin(OutputFile::create(files.path("m")).value(), classes, features)
        .code();
  };
  EXPECT_EQ(begin({0, 0.5}, 1), Errc::invalid_argument);
  EXPECT_EQ(begin({0, 1e10}, 1), Errc::invalid_argument);
  EXPECT_EQ(begin({0, 1}, kIndexMax + 1), Errc::out_of_range);
  EXPECT_TRUE(std::filesystem::is_empty(files.directory())) << "nothing is left behind";
}

TEST(ModelIo, LiblinearPredictsWithTheModel) {
  if (!is_installed("liblinear-predict")) GTEST_SKIP() << "liblinear-predict is not installed";
  const ScratchFiles files;
  const auto data = files.write("data", "2 1:1\n1 2:1\n2 1:3 2:1\n1 2:1 3:-1\n");
  write_model(files.path("m"), {1, 2}, {1, -1});
  const auto command =
      "liblinear-predict " + data + ' ' + files.path("m") + ' ' + files.path("out") + " >/dev/null";
  ASSERT_EQ(std::system(command.c_str()), 0);
  EXPECT_EQ(ScratchFiles::read(files.path("out")), "2\n1\n2\n1\n");
}

TEST(ModelIo, ReadsTheModelOfLiblinearTrain) {
  if (!is_installed("liblinear-train")) GTEST_SKIP() << "liblinear-train is not installed";
  const ScratchFiles files;
  for (const char* data : {"-1 1:1\n+1 2:1\n-1 1:2 3:1\n+1 2:2\n", "1 1:1\n2 2:1\n1 1:2\n2 2:2\n",
                           "2 1:1\n1 2:1\n2 1:2\n1 2:2\n"}) {
    const auto path = files.write("data", data);
    const auto command = "liblinear-train -q -s 6 -c 10 " + path + ' ' + files.path("m");
    ASSERT_EQ(std::system(command.c_str()), 0);
    const auto model = read_model(files.path("m")).value();
    const auto summary = summarise_file(path).value();
    EXPECT_EQ(model.classes, summary.classes);
    auto reader = LibsvmReader::open(path, {.classes = summary.classes}).value();
    EXPECT_EQ(evaluate(reader, model.weights).value().accuracy, 1);
  }
}

}  // namespace
}  // namespace shoal::sparse_lr
