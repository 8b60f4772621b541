#include <gtest/gtest.h>

#include "transport/transport.h"

namespace shoal {
namespace {

TEST(Address, IsToldBack) {
  for (const auto* text :
       {"10.0.0.1:7000", "[::1]:7000", "node-1.example:0", "[fe80::1%eth0]:65535"}) {
    const auto address = Address::parse(text);
    ASSERT_TRUE(address.ok()) << text;
    EXPECT_EQ(address->to_string(), text);
  }
  EXPECT_EQ(Address::parse("[node]:1")->to_string(), "node:1");
}

TEST(Address, WhatIsNoneIsRefusedInItsWords) {
  for (const auto* text :
       {"", ":", "7000", "node", "node:", ":7000", "::1:7000", "[]:7000", "[::1:7000", "::1]:7000",
        "node:-1", "node:65536", "node:7000 ", "[[ss]:6999", "[ss]]:6999", "a]b:1", "a[b:1"}) {
    const auto address = Address::parse(text);
    ASSERT_EQ(address.code(), Errc::invalid_argument) << text;
    EXPECT_NE(address.error().what.find(std::string("'") + text + "' is not an address"),
              std::string::npos);
  }
}

}  // namespace
}  // namespace shoal
