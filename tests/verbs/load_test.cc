#include <gtest/gtest.h>

#include "tests/core/mentions.h"
#include "transport/verbs/api.h"

namespace shoal::verbs {
namespace {

TEST(Load, AMissingLibraryIsToldWithItsPackage) {
  const auto api = load("libibverbs-that-nobody-has.so.1");
  ASSERT_FALSE(api.ok());
  EXPECT_EQ(api.code(), Errc::unavailable);
  for (const auto* part : {"libibverbs-that-nobody-has.so.1", "rdma-core 28", "libibverbs1"})
    EXPECT_TRUE(mentions(api.error(), part)) << api.error().message();
}

TEST(Load, ALibraryWithoutAFunctionIsTooOld) {
  const auto before = load();
  const auto api = load("libc.so.6");
  ASSERT_FALSE(api.ok());
  EXPECT_EQ(api.code(), Errc::unavailable);
  EXPECT_TRUE(mentions(api.error(), "libc.so.6 has no ibv_")) << api.error().message();
  EXPECT_EQ(before.ok(), load().ok());
}

TEST(Load, FindsEveryFunctionOrSaysWhatIsMissing) {
  const auto api = load();
  if (!api.ok()) GTEST_SKIP() << api.error().message();
  EXPECT_NE(api->get_device_list, nullptr);
  EXPECT_NE(api->query_gid_ex, nullptr);
  EXPECT_NE(api->wc_status_str, nullptr);
}

}  // namespace
}  // namespace shoal::verbs
