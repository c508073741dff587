#include "server/rpc/authenticator.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::server {
namespace {

using ::testing::HasSubstr;

TEST(Authenticator, KnowsEachTokensName) {
  const auto tokens = Authenticator::Parse("# who may\n\nalice\t0123456789abcdef\r\n  bob   fedcba9876543210fedc  \n");
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(*(*tokens)->Check("Bearer 0123456789abcdef"), "alice");
  EXPECT_EQ(*(*tokens)->Check("bearer fedcba9876543210fedc"), "bob");
  for (const char* wrong : {"", "0123456789abcdef", "Basic 0123456789abcdef", "Bearer ", "Bearer 0123456789abcde",
                            "Bearer 0123456789abcdef ", "Bearer 0123456789ABCDEF", "Bearer alice", "Bearer # who may"})
    EXPECT_EQ((*tokens)->Check(wrong).status().code(), absl::StatusCode::kUnauthenticated) << wrong;
}

TEST(Authenticator, TakesAnotherFileIfItIsWhole) {
  const auto tokens = *Authenticator::Parse("alice 0123456789abcdef\n");
  EXPECT_FALSE(tokens->Replace("alice\n").ok());
  EXPECT_TRUE(tokens->Check("Bearer 0123456789abcdef").ok());
  EXPECT_TRUE(tokens->Replace("carol aaaabbbbccccdddd").ok());
  EXPECT_FALSE(tokens->Check("Bearer 0123456789abcdef").ok());
  EXPECT_EQ(*tokens->Check("Bearer aaaabbbbccccdddd"), "carol");
}

TEST(Authenticator, RefusesAFileThatIsNotWholeWithTheLine) {
  const auto refused = [](std::string_view file) {
    const absl::Status status = Authenticator::Parse(file).status();
    EXPECT_EQ(StatusField(status), "token_file");
    return std::string(status.message());
  };
  EXPECT_THAT(refused(""), HasSubstr("no token"));
  EXPECT_THAT(refused("# nobody\n"), HasSubstr("no token"));
  EXPECT_THAT(refused("alice 0123456789abcdef\nbob\n"), HasSubstr("line 2"));
  EXPECT_THAT(refused("alice 0123456789abcdef more\n"), HasSubstr("line 1"));
  EXPECT_THAT(refused("alice 0123456789abcde\n"), HasSubstr("16 to 256"));
  EXPECT_THAT(refused("alice " + std::string(257, 'x')), HasSubstr("16 to 256"));
  EXPECT_THAT(refused("alice 0123456789abcdef\nalice fedcba9876543210\n"), HasSubstr("line 2 has a name"));
  EXPECT_THAT(refused("alice 0123456789abcdef\nbob 0123456789abcdef\n"), HasSubstr("line 2 has a token"));
  // The token itself is never shown.
  EXPECT_THAT(refused("alice secretsecret12\nbob secretsecret12\n"), ::testing::Not(HasSubstr("secret")));
}

}  // namespace
}  // namespace engram::server
