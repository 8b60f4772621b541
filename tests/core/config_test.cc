#include "core/base/config.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "tests/support/temp_dir.h"

namespace shoal {
namespace {

class ConfigTest : public testing::Test {
 protected:
  std::string file(const std::string& text) {
    const auto path = directory_ / "shoal.toml";
    std::ofstream(path) << text;
    return path.string();
  }
  TempDir temporary_;
  const std::filesystem::path directory_ = temporary_.path();
};

TEST_F(ConfigTest, LaterSourcesWinAndAreRemembered) {
  const auto path = file("workers = 3\nservers = 5\n\nspin = \"20us\"\n");
  const auto config = Config::load(path, {{"SHOAL_WORKERS", "4"}, {"PATH", "/bin"}},
                                   {{"operation-timeout", "5s"}, {"servers", "7"}});
  ASSERT_TRUE(config.ok()) << config.error().message();
  EXPECT_EQ(config->workers, 4u);
  EXPECT_EQ(config->servers, 7u);
  EXPECT_EQ(config->spin, std::chrono::microseconds(20));
  EXPECT_EQ(config->operation_timeout, std::chrono::seconds(5));
  EXPECT_EQ(config->origins.at("workers"), "environment");
  EXPECT_EQ(config->origins.at("servers"), "command line");
  EXPECT_EQ(config->origins.at("spin"), path + ":4");
  bool found = false;
  for (const auto& shown : config->show())
    if (shown.name == "lost_after") {
      found = true;
      EXPECT_EQ(shown.value, "30s");
      EXPECT_EQ(shown.origin, "default");
    }
  EXPECT_TRUE(found);
}

TEST_F(ConfigTest, UnknownNamesAreErrorsThatNameTheNearest) {
  auto config = Config::load({}, {{"SHOAL_WORKRES", "4"}}, {});
  ASSERT_FALSE(config.ok());
  EXPECT_EQ(config.code(), Errc::unknown_name);
  EXPECT_NE(config.error().what.find("SHOAL_WORKRES"), std::string::npos);
  EXPECT_NE(config.error().what.find("workers"), std::string::npos);

  config = Config::load({}, {}, {{"lost-aftr", "4s"}});
  ASSERT_FALSE(config.ok());
  EXPECT_NE(config.error().what.find("lost_after"), std::string::npos);

  const auto path = file("\nworkerz = 1\n");
  config = Config::load(path, {}, {});
  ASSERT_FALSE(config.ok());
  EXPECT_NE(config.error().what.find(path + ":2"), std::string::npos);
  EXPECT_NE(config.error().what.find("workers"), std::string::npos);
}

TEST_F(ConfigTest, WrongValuesSayWhatWasExpected) {
  for (const auto& [name, value, expected] : {std::tuple{"spin", "20", "unit"},
                                              {"workers", "-1", "whole number"},
                                              {"workers", "99999999999", "whole number"},
                                              {"eager_bytes_max", "16kb", "size in bytes"},
                                              {"workers", "9000", "0 to 8192"},
                                              {"workers", "two", "whole number (0 to 8192)"},
                                              {"workers", "", "whole number"},
                                              {"spin", "2s", "expected 0s to 1s"},
                                              {"spin", "", "unit"},
                                              {"spin", "-1s", "unit"},
                                              {"spin", "1.5s", "unit"},
                                              {"spin", "1 s", "unit"},
                                              {"join_timeout", "0s", "expected 1ms to 720h"},
                                              {"join_timeout", "1000h", "expected 1ms to 720h"},
                                              {"landing_bytes", "4KiB", "expected 6MiB to"},
                                              {"landing_bytes", "-1", "size in bytes"},
                                              {"landing_bytes", "99999999999GiB", "size in bytes"},
                                              {"worker_list_bytes", "2048GiB", "0 to 1024GiB"},
                                              {"server_list_bytes", "1.5GiB", "size in bytes"},
                                              {"bulk_turn_bytes", "4095", "4KiB to 16MiB"},
                                              {"bulk_turn_bytes", "3KiB", "4KiB to 16MiB"},
                                              {"bulk_turn_bytes", "17MiB", "4KiB to 16MiB"},
                                              {"name", "two\nlines", "control characters"},
                                              {"progress", "gpu", "thread or caller"},
                                              {"transports", "tpc", "'tpc' is none: expected a"},
                                              {"transports", "verbs, tcp", "' tcp' is none"},
                                              {"transports", "verbs,,tcp", "'' is none"},
                                              {"transports", "", "a list of verbs, ucx, tcp"},
                                              {"transports", ",", "a list of verbs, ucx, tcp"},
                                              {"devices", "mlx5_0:0", "NAME:PORT (1 to 255)"},
                                              {"interfaces", "eth0:1", "without a port"},
                                              {"spin", "99999999999999h", "unit"}}) {
    const auto config = Config::load({}, {}, {{name, value}});
    ASSERT_FALSE(config.ok()) << name << "=" << value;
    EXPECT_NE(config.error().what.find(expected), std::string::npos) << config.error().what;
  }
}

TEST_F(ConfigTest, TransportsAreKnownWhereverTheyStand) {
  const auto told = [](const Result<Config>& config) {
    return config.ok() ? std::string() : config.error().what;
  };
  EXPECT_EQ(told(Config::load({}, {{"SHOAL_TRANSPORTS", "tpc"}}, {})),
            "environment variable SHOAL_TRANSPORTS: transports = 'tpc': 'tpc' is none: expected a "
            "list of verbs, ucx, tcp");
  EXPECT_TRUE(told(Config::parse("\ntransports = 'verbs,tpc'", "c.toml", {}, {}))
                  .starts_with("c.toml:2: transports = 'verbs,tpc': 'tpc' is none"));
  // Known is enough: whether a machine has them is another matter.
  for (const auto* list : {"verbs", "ucx", "tcp", "tcp,ucx,verbs", "ucx,ucx", "tcp,"})
    EXPECT_EQ(told(Config::load({}, {}, {{"transports", list}})), "");
  EXPECT_EQ(parse_transports("tcp,ucx,tcp,").value(), (std::vector<std::string>{"tcp", "ucx"}));
}

TEST_F(ConfigTest, RequiredRdmaIsAmongTheTransports) {
  const auto told = [](const char* transports) {
    const auto config = Config::load({}, {{"SHOAL_REQUIRE", "rdma"}}, {{"transports", transports}});
    return config.ok() ? std::string() : config.error().what;
  };
  EXPECT_EQ(told("tcp"), "require = 'rdma' needs verbs among transports, which are 'tcp'");
  EXPECT_EQ(told("ucx,tcp"), "require = 'rdma' needs verbs among transports, which are 'ucx,tcp'");
  // What stands behind TCP is not tried.
  EXPECT_EQ(told("tcp,verbs"),
            "require = 'rdma' needs verbs before tcp in transports, which are 'tcp,verbs'");
  for (const auto* list : {"verbs", "verbs,tcp", "ucx,verbs,tcp"}) EXPECT_EQ(told(list), "");
}

TEST_F(ConfigTest, ListsOfNamesAreFilters) {
  EXPECT_TRUE(Config{}.devices.takes("mlx5_0", 1));
  const auto config = Config::load(file("devices = \"^=mlx5_0:1\"\n"),
                                   {{"SHOAL_INTERFACES", "eth0,=ens5,^docker"}}, {});
  ASSERT_TRUE(config.ok()) << config.error().message();
  EXPECT_FALSE(config->devices.takes("mlx5_0", 1));
  EXPECT_TRUE(config->devices.takes("mlx5_0", 2));
  EXPECT_TRUE(config->interfaces.takes("ens5"));
  EXPECT_FALSE(config->interfaces.takes("ens5f1"));
}

TEST_F(ConfigTest, StringsAndCommentsAreInAnyLanguage) {
  const auto config = Config::load(
      file("\xef\xbb\xbfname = \"K\u00f6ln \\\" #1\"  # \u00e4\nstate_dir = '/\u65e5\\'\n"), {},
      {});
  ASSERT_TRUE(config.ok()) << config.error().message();
  EXPECT_EQ(config->name, "K\u00f6ln \" #1");
  EXPECT_EQ(config->state_dir, "/\u65e5\\");
}

TEST_F(ConfigTest, WrongFilesSayWhatIsWrong) {
  using namespace std::string_literals;
  const auto what = [](const std::string& path) {
    const auto config = Config::load(path, {}, {});
    return config.ok() ? "" : config.error().message();
  };
  const auto has = [](const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  };
  EXPECT_TRUE(has(what("/nonexistent/shoal.toml"), "/nonexistent/shoal.toml"));
  EXPECT_TRUE(has(what(directory_.string()), "Is a directory")) << what(directory_.string());
  EXPECT_EQ(what(file("")), "");
  for (const auto& [text, part] :
       {std::pair{"workers = [1]\n"s, ":1: expected a string or a whole number"s},
        {"\nworkers = 1.5\n",
         ":2: workers: expected a string or a whole number, as in workers = 1"},
        {"spin = 20\n", "unit, as in"},
        {"workers = = 1\n", ":1: "},
        {"workers = 1\nworkers = 2\n", ":2: "},
        {"[server]\ncredits = 3\n", ":1: there is no option 'server' (did you mean 'servers'?)"},
        {"[:", ":1: "},
        {"workers = 1\n\u00e4 = 1\n", ":2: expected NAME = VALUE, in ASCII"},
        {"name = \"\"\"a\nb\"\"\"\n", ":1: expected NAME = VALUE"},
        {"\x7f"
         "ELF\x02\x01\x01\0\0\0"s,
         ":1: "},
        {std::string(2 << 20, '#'), "is it another file?"},
        {"name = \"a\\u0000b\"", "control characters"}}) {
    const auto told = what(file(text));
    EXPECT_TRUE(has(told, part)) << told << "\nfor " << text.substr(0, 40);
    EXPECT_TRUE(has(told, directory_.string())) << told;
    for (const unsigned char c : told) EXPECT_GE(c, ' ') << told;
  }
}

TEST_F(ConfigTest, UnitsRoundTrip) {
  for (const auto* text : {"10us", "250ms", "2s", "7200s"})
    EXPECT_EQ(to_string(parse_duration(text).value()), text);
  EXPECT_EQ(parse_duration("2h").value(), std::chrono::hours(2));
  for (const auto* text : {"0", "7", "256KiB", "64MiB", "3GiB"})
    EXPECT_EQ(bytes_to_string(parse_bytes(text).value()), text);
}

}  // namespace
}  // namespace shoal
