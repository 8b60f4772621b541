#include "core/base/index_stack.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace shoal {
namespace {

TEST(IndexStack, WhatWasGivenBackLastIsTakenFirst) {
  IndexStack stack(3);
  std::uint32_t index = 9;
  for (const auto expected : {0u, 1u, 2u}) {
    ASSERT_TRUE(stack.pop(index));
    EXPECT_EQ(index, expected);
  }
  EXPECT_FALSE(stack.pop(index));
  stack.push(2);
  stack.push(0);
  for (const auto expected : {0u, 2u}) {
    ASSERT_TRUE(stack.pop(index));
    EXPECT_EQ(index, expected);
  }
  EXPECT_FALSE(stack.pop(index));
}

TEST(IndexStack, AnEmptyOneHasNone) {
  IndexStack stack(0);
  std::uint32_t index = 0;
  EXPECT_FALSE(stack.pop(index));
}

TEST(IndexStack, NoPlaceBelongsToTwoThreads) {
  constexpr std::uint32_t kPlaces = 3;
  constexpr int kThreads = 4, kTurns = 50'000;
  IndexStack stack(kPlaces);
  std::atomic<int> holders[kPlaces] = {};
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < kTurns; ++i) {
        std::uint32_t index = 0;
        if (!stack.pop(index)) continue;
        if (holders[index].fetch_add(1) != 0) ++wrong;
        holders[index].fetch_sub(1);
        stack.push(index);
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  std::uint32_t index = 0;
  for (std::uint32_t i = 0; i < kPlaces; ++i) EXPECT_TRUE(stack.pop(index));
  EXPECT_FALSE(stack.pop(index)) << "none was lost, and none came up twice";
}

}  // namespace
}  // namespace shoal
