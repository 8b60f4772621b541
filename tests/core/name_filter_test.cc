#include "core/base/name_filter.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace shoal {
namespace {

using FilterKind = NameFilter::Kind;

NameFilter filter_of(FilterKind kind, std::string_view text) {
  auto filter = NameFilter::parse(kind, text);
  EXPECT_TRUE(filter.ok()) << text << ": " << filter.error().message();
  return filter.value();
}

/// Those of some machine's interfaces that the list takes.
std::string taken_by(std::string_view text) {
  const auto filter = filter_of(FilterKind::interfaces, text);
  std::string taken;
  for (const auto* name : {"lo", "eth0", "eth01", "eth1", "ens5", "ens5f1", "docker0"})
    if (filter.takes(name)) taken += (taken.empty() ? "" : " ") + std::string(name);
  return taken;
}

TEST(NameFilter, ListsMeanWhatTheyMeanToNccl) {
  EXPECT_EQ(taken_by("eth"), "eth0 eth01 eth1");
  EXPECT_EQ(taken_by("eth0,ens5"), "eth0 eth01 ens5 ens5f1");
  EXPECT_EQ(taken_by("=eth0"), "eth0");
  EXPECT_EQ(taken_by("=eth0,ens5"), "eth0 ens5");
  EXPECT_EQ(taken_by("^docker"), "lo eth0 eth01 eth1 ens5 ens5f1");
  EXPECT_EQ(taken_by("^docker,lo,eth0"), "eth1 ens5 ens5f1");
  EXPECT_EQ(taken_by("^=eth0,ens5"), "lo eth01 eth1 ens5f1 docker0");
}

TEST(NameFilter, AMarkerHoldsUntilTheNext) {
  EXPECT_EQ(taken_by("eth0,=ens5,^docker"), "eth0 eth01 ens5");
  EXPECT_EQ(taken_by("=ens5,eth0"), "eth0 ens5");
  EXPECT_EQ(taken_by("^lo,=eth0,ens5"), "eth0 ens5");
  EXPECT_EQ(taken_by("e,^=eth0,^ens5f"), "eth01 eth1 ens5");
  EXPECT_EQ(taken_by("^=eth0,^docker,lo"), "eth01 eth1 ens5 ens5f1");
}

TEST(NameFilter, ExcludingWinsInAnyOrder) {
  EXPECT_EQ(taken_by("eth,^eth0"), "eth1");
  EXPECT_EQ(taken_by("^eth0,=eth0,eth1"), "eth1");
  EXPECT_EQ(taken_by("=eth0,^eth0"), "");
}

TEST(NameFilter, AnEmptyListTakesAll) {
  EXPECT_EQ(taken_by(""), "lo eth0 eth01 eth1 ens5 ens5f1 docker0");
  EXPECT_EQ(taken_by("  "), taken_by(""));
  EXPECT_TRUE(NameFilter(FilterKind::devices).takes("mlx5_0", 1));
  EXPECT_EQ(NameFilter(FilterKind::devices).why_not("mlx5_0", 1), "");
}

TEST(NameFilter, SpacesAroundNamesArePassedOver) {
  EXPECT_EQ(taken_by(" eth1 , =ens5,  lo "), "lo eth1 ens5");
  EXPECT_EQ(filter_of(FilterKind::interfaces, " eth1 ").text(), " eth1 ");
}

TEST(NameFilter, CaseAndBeginningsCount) {
  EXPECT_EQ(taken_by("ETH"), "");
  EXPECT_EQ(taken_by("th0"), "");
  EXPECT_EQ(taken_by("eth012"), "");
}

TEST(NameFilter, DevicesHavePorts) {
  const auto one = filter_of(FilterKind::devices, "mlx5_1:2");
  EXPECT_TRUE(one.takes("mlx5_1", 2));
  EXPECT_TRUE(one.takes("mlx5_10", 2));
  EXPECT_FALSE(one.takes("mlx5_1", 1));
  EXPECT_FALSE(one.takes("mlx5_0", 2));

  const auto exact = filter_of(FilterKind::devices, "=mlx5_1:2,mlx5_0");
  EXPECT_FALSE(exact.takes("mlx5_10", 2));
  EXPECT_TRUE(exact.takes("mlx5_0", 1));
  EXPECT_TRUE(exact.takes("mlx5_0", 255));

  const auto but = filter_of(FilterKind::devices, "^=mlx5_0:1");
  EXPECT_FALSE(but.takes("mlx5_0", 1));
  EXPECT_TRUE(but.takes("mlx5_0", 2));
  EXPECT_TRUE(but.takes("mlx5_01", 1));
}

TEST(NameFilter, ADeviceIsTakenIfAPortMayBe) {
  const auto one = filter_of(FilterKind::devices, "mlx5_1:2");
  EXPECT_TRUE(one.takes("mlx5_1"));
  EXPECT_FALSE(one.takes("mlx5_0"));
  const auto but = filter_of(FilterKind::devices, "^mlx5_0:1,mlx5_1");
  EXPECT_TRUE(but.takes("mlx5_0"));
  EXPECT_FALSE(but.takes("mlx5_1"));
}

TEST(NameFilter, SaysWhyNot) {
  const auto devices = filter_of(FilterKind::devices, "mlx,^mlx5_2,=mlx5_0:1,^=mlx5_3:2");
  EXPECT_EQ(devices.why_not("mlx5_0", 1), "");
  EXPECT_EQ(devices.why_not("mlx5_2", 1),
            "'mlx,^mlx5_2,=mlx5_0:1,^=mlx5_3:2' leaves it out (^mlx5_2)");
  EXPECT_EQ(devices.why_not("mlx5_3", 2),
            "'mlx,^mlx5_2,=mlx5_0:1,^=mlx5_3:2' leaves it out (^=mlx5_3:2)");
  EXPECT_EQ(devices.why_not("rxe0"), "'mlx,^mlx5_2,=mlx5_0:1,^=mlx5_3:2' has no name that fits");
  EXPECT_EQ(filter_of(FilterKind::interfaces, "^docker,lo").why_not("lo"),
            "'^docker,lo' leaves it out (^lo)");
}

TEST(NameFilter, WrongListsSayWhatWasExpected) {
  struct Case {
    FilterKind kind;
    std::string text, part;
  };
  for (const auto& [kind, text, part] : std::vector<Case>{
           {FilterKind::interfaces, "eth0,,lo", "expected a name as number 2 of the list, not ''"},
           {FilterKind::interfaces, ",", "expected a name as number 1"},
           {FilterKind::interfaces, "eth0,", "expected a name as number 2"},
           {FilterKind::interfaces, "eth0, ,lo", "expected a name as number 2"},
           {FilterKind::interfaces, "^",
            "a name behind the marker as number 1 of the list, not '^'"},
           {FilterKind::interfaces, "eth0,=", "a name behind the marker as number 2"},
           {FilterKind::interfaces, "^=", "a name behind the marker"},
           {FilterKind::interfaces, "=^eth0", "one marker before a name: = or ^ or ^="},
           {FilterKind::interfaces, "^^eth0", "one marker before a name"},
           {FilterKind::interfaces, "==eth0", "one marker before a name"},
           {FilterKind::interfaces, "eth0=eth1", "one marker before a name"},
           {FilterKind::interfaces, "^ lo", "without spaces"},
           {FilterKind::interfaces, "eth0 eth1", "without spaces"},
           {FilterKind::interfaces, "/dev/eth0", "slashes"},
           {FilterKind::interfaces, "eth0\nlo", "number 1 of the list, not 'eth0?lo'"},
           {FilterKind::interfaces, "=" + std::string(100, '='), "====...' (as in"},
           {FilterKind::interfaces, "eth0:1", "without a port"},
           {FilterKind::interfaces, "^", "as in eth,ens5 or =eth0"},
           {FilterKind::devices, "^", "as in mlx5_0,mlx5_1:1"},
           {FilterKind::devices, "mlx5_0:", "NAME:PORT (1 to 255)"},
           {FilterKind::devices, ":1", "NAME:PORT (1 to 255)"},
           {FilterKind::devices, "mlx5_0:0", "NAME:PORT (1 to 255)"},
           {FilterKind::devices, "mlx5_0:256", "NAME:PORT (1 to 255)"},
           {FilterKind::devices, "mlx5_0:-1", "NAME:PORT (1 to 255)"},
           {FilterKind::devices, "mlx5_0:1:2", "NAME:PORT (1 to 255)"},
           {FilterKind::devices, "mlx5_0:one", "NAME:PORT (1 to 255)"}}) {
    const auto filter = NameFilter::parse(kind, text);
    ASSERT_FALSE(filter.ok()) << text;
    EXPECT_EQ(filter.code(), Errc::invalid_argument);
    EXPECT_NE(filter.error().what.find(part), std::string::npos) << filter.error().what;
  }
}

TEST(NameFilter, IsAValue) {
  EXPECT_EQ(filter_of(FilterKind::devices, "a,^b"), filter_of(FilterKind::devices, "a,^b"));
  EXPECT_NE(filter_of(FilterKind::devices, "a,^b"), filter_of(FilterKind::devices, "a,b"));
  EXPECT_NE(NameFilter(FilterKind::devices), NameFilter(FilterKind::interfaces));
}

}  // namespace
}  // namespace shoal
