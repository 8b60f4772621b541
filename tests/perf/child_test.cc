#include "perf/child.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>

namespace shoal::perf {
namespace {

TEST(Child, TextsGoBothWays) {
  auto child = Child::start("echo", [](Channel& parent) -> Status {
    for (;;) {
      const auto text = parent.receive();
      if (!text.ok()) return {};
      SHOAL_TRY(parent.send(*text + *text));
    }
  });
  ASSERT_TRUE(child.ok());
  for (const std::string text : {"a", "", "longer"}) {
    ASSERT_TRUE(child->send(text).ok());
    const auto answer = child->receive();
    ASSERT_TRUE(answer.ok()) << answer.error().message();
    EXPECT_EQ(*answer, text + text);
  }
  EXPECT_TRUE(child->finish().ok());
}

TEST(Child, ItsFailureIsTold) {
  auto child = Child::start("clerk", [](Channel&) -> Status {
    return Error{Errc::io, "the file is not there", ENOENT};
  });
  ASSERT_TRUE(child.ok());
  const auto text = child->receive();
  ASSERT_FALSE(text.ok());
  EXPECT_EQ(text.error(), (Error{Errc::io, "the clerk: the file is not there", ENOENT}));
}

TEST(Child, FailureAfterTheLastTextIsTold) {
  auto child = Child::start("clerk", [](Channel& parent) -> Status {
    parent.wait_for_end();
    return Error{Errc::cancelled, "late"};
  });
  ASSERT_TRUE(child.ok());
  EXPECT_EQ(child->finish().error(), (Error{Errc::cancelled, "the clerk: late"}));
}

TEST(Child, AViolentEndIsTold) {
  auto child = Child::start("clerk", [](Channel& parent) -> Status {
    parent.wait_for_end();
    ::raise(SIGKILL);
    return {};
  });
  ASSERT_TRUE(child.ok());
  const auto end = child->finish();
  ASSERT_FALSE(end.ok());
  EXPECT_EQ(end.error().what, "the clerk was killed by signal 9");
}

TEST(Child, IsGoneWithItsHandle) {
  pid_t pid = 0;
  {
    auto child = Child::start("idler", [](Channel&) -> Status {
      for (;;) ::pause();
    });
    ASSERT_TRUE(child.ok());
    pid = child->pid();
    EXPECT_EQ(::kill(pid, 0), 0);
  }
  EXPECT_EQ(::kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(Child, LongTextsAreRefused) {
  auto child = Child::start("idler", [](Channel& parent) -> Status {
    parent.wait_for_end();
    return {};
  });
  ASSERT_TRUE(child.ok());
  EXPECT_TRUE(child->send(std::string(Channel::kTextMax, 'x')).ok());
  EXPECT_EQ(child->send(std::string(Channel::kTextMax + 1, 'x')).error().code,
            Errc::invalid_argument);
}

}  // namespace
}  // namespace shoal::perf
