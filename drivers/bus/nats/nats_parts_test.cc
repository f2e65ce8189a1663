// Names, positions, generations, records and URLs of the NATS bus: no server.
#include <gtest/gtest.h>

#include <cstdlib>

#include "drivers/bus/nats/group_record.h"
#include "drivers/bus/nats/group_view.h"
#include "drivers/bus/nats/lineage.h"
#include "drivers/bus/nats/names.h"
#include "drivers/bus/nats/nats_bus.h"

namespace utp::nats_bus {
namespace {

TEST(NatsNames, StreamsHaveNoDotsAndAreReadBack) {
  const Names names("utp");
  for (const std::string topic : {"utp.prod.us.quotes.v2", "a", "a-1-b.c_d", "0.1"}) {
    const std::string stream = names.stream(topic, 17);
    EXPECT_EQ(stream.find('.'), std::string::npos);
    const auto read = names.read_stream(stream);
    ASSERT_TRUE(read) << stream;
    EXPECT_EQ(read->topic, topic);
    EXPECT_EQ(read->partition, 17u);
  }
  EXPECT_EQ(names.subject("a.b", 2), "utp.2.a.b");
  for (const char* other : {"utp", "utp-", "utp-x-a", "utp-1-", "utp2-0-a", "KV_utp", "orders"}) EXPECT_FALSE(names.read_stream(other)) << other;
}

TEST(NatsNames, GroupsAndMembersOfAnyPrintableTextAreKeys) {
  const std::string group = "g*>.%=~ü";
  const std::string member = "host.1:2/3$";
  for (const std::string& key : {record_key(group, "a.b", 3), member_key(group, member)}) {
    for (const char c : key) EXPECT_TRUE(std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '=' || c == '.') << key;
    EXPECT_EQ(key.find(".."), std::string::npos);
    EXPECT_TRUE(key.starts_with(group_prefix(group)));
    const auto read = read_group_key(key);
    ASSERT_TRUE(read);
    EXPECT_EQ(read->group, group);
  }
  EXPECT_EQ(read_group_key(member_key(group, member))->member, member);
  EXPECT_EQ(read_group_key(record_key(group, "a.b", 3))->topic, "a.b");
  EXPECT_EQ(read_group_key(record_key(group, "a.b", 3))->partition, 3u);
  EXPECT_FALSE(record_key("a.b", "t", 0).starts_with(group_prefix("a")));
}

TEST(NatsNames, KeysOfMessagesGoThroughHeaders) {
  for (const std::string& key : {std::string("BTC-USD"), std::string("a b\r\n%2"), std::string("\0\xff", 2), std::string()}) {
    const std::string encoded = encode_header(key);
    EXPECT_EQ(encoded.find_first_of(" \r\n"), std::string::npos);
    EXPECT_EQ(decode_header(encoded), key);
  }
}

TEST(NatsNames, PositionsHaveAGenerationAndASequence) {
  const std::uint64_t position = position_at(7, 1041);
  EXPECT_EQ(write_position(position), "7-1041");
  EXPECT_EQ(read_position("7-1041"), position);
  EXPECT_LT(position_at(7, kSequenceMax), position_at(8, 1));
  for (const char* bad : {"", "7", "-1", "7-", "x-1", "7-1x", "4194304-1"}) EXPECT_FALSE(read_position(bad)) << bad;
}

TEST(NatsLineage, ALostTailEndsAGeneration) {
  Lineage lineage;
  lineage.open("first", 0, 0, 0);
  const std::uint64_t before = lineage.position_of(150);
  EXPECT_EQ(lineage.sequence_reached(before), 150u);
  lineage.open("second", 100, 0, 0);  // 101 to 150 are gone
  EXPECT_EQ(lineage.sequence_reached(before), 100u);
  EXPECT_EQ(lineage.position_of(100), before - 50);
  EXPECT_GT(lineage.position_of(101), before);
  EXPECT_TRUE(lineage.count_lost(before));
  EXPECT_EQ(lineage.lost(), 50u);
  EXPECT_FALSE(lineage.count_lost(before)) << "counted once";
  EXPECT_TRUE(lineage.count_lost(before + 3));
  EXPECT_EQ(lineage.lost(), 53u);
  lineage.open("third", 90, 0, 0);  // and what was before them
  EXPECT_EQ(lineage.sequence_reached(before), 90u);
  EXPECT_EQ(lineage.sequence_reached(lineage.position_of(90)), 90u);
  const Lineage read = Lineage::read(lineage.write());
  EXPECT_EQ(read.write(), lineage.write());
  EXPECT_EQ(read.run(), "third");
}

TEST(NatsLineage, ARestartWithoutALossChangesNothingButTheGeneration) {
  Lineage lineage;
  lineage.open("first", 0, 0, 0);
  const std::uint64_t before = lineage.position_of(150);
  lineage.open("second", 150, 0, 0);
  EXPECT_EQ(lineage.sequence_reached(before), 150u);
  EXPECT_FALSE(lineage.count_lost(before));
  EXPECT_EQ(lineage.position_of(150), before);
}

TEST(NatsLineage, GenerationsGrowEvenWhereTheirRecordIsLost) {
  Lineage lineage;
  lineage.open("a", 0, 0, 1'000'000);
  Lineage forgotten;
  forgotten.open("b", 0, 0, 1'000'000 + 2048);
  EXPECT_GT(forgotten.generation(), lineage.generation());
  Lineage soon;
  soon.open("c", 0, lineage.generation(), 1'000'000);
  EXPECT_GT(soon.generation(), lineage.generation());
  for (int i = 0; i < 200; ++i) lineage.open("r" + std::to_string(i), 10, 0, 0);
  EXPECT_LT(lineage.write().size(), 2000u);
}

TEST(NatsRecords, AreTexts) {
  GroupRecord record;
  record.acknowledged = position_at(3, 17);
  record.owner = "host-1=x";
  record.epoch = "123";
  record.trimmed = 4;
  record.unreported = 2;
  record.passes.add(position_at(3, 20));
  record.passes.add(position_at(3, 25));
  const GroupRecord read = GroupRecord::read(record.write());
  EXPECT_EQ(read.write(), record.write());
  EXPECT_EQ(read.owner, record.owner);
  EXPECT_EQ(read.passes.attempt(position_at(3, 19)), 3u);
  EXPECT_EQ(GroupRecord::read("").owner, "");
  EXPECT_EQ(GroupRecord::read("what is this").acknowledged, 0u);
  const MemberRecord member{5, {"a.b", "c.>"}};
  EXPECT_EQ(MemberRecord::read(member.write()).lease_ns, 5);
  EXPECT_EQ(MemberRecord::read(member.write()).patterns, member.patterns);
}

TEST(NatsGroupView, LeasesAreJudgedByTheServersClock) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  const Timestamp noon{1'000'000 * kSecond};
  const MemberRecord record{10 * kSecond, {"a"}};
  GroupView view("me");
  EXPECT_TRUE(view.take({"g", "other", "", 0}, record.write(), 1, noon));
  EXPECT_TRUE(view.take({"g", "me", "", 0}, record.write(), 2, noon + 4 * kSecond));
  EXPECT_GT(view.lease_left_ns("other"), 0);
  EXPECT_LE(view.lease_left_ns("other"), 6 * kSecond);
  EXPECT_FALSE(view.take({"g", "me", "", 0}, record.write(), 3, noon + 11 * kSecond)) << "a further sign of life changes nothing";
  EXPECT_LE(view.lease_left_ns("other"), 0);
  EXPECT_TRUE(view.take({"g", "other", "", 0}, record.write(), 4, noon + 12 * kSecond)) << "it is back";
  EXPECT_GT(view.lease_left_ns("other"), 0);
  EXPECT_FALSE(view.take({"g", "other", "", 0}, record.write(), 4, noon)) << "that was known";
  EXPECT_EQ(view.lease_left_ns("nobody"), 0);
  // The clock is set back by an hour: the others' next signs of life are not older than their leases.
  const Timestamp back = noon - 3600 * kSecond;
  view.take({"g", "me", "", 0}, record.write(), 5, back);
  view.take({"g", "other", "", 0}, record.write(), 6, back);
  EXPECT_GT(view.lease_left_ns("other"), 9 * kSecond);
  const MemberRecord left{0, {"a"}};
  EXPECT_TRUE(view.take({"g", "other", "", 0}, left.write(), 7, back));
  EXPECT_LE(view.lease_left_ns("other"), 0);
}

TEST(NatsUrl, NamesServersUserPasswordAndToken) {
  ::unsetenv("UTP_NATS_PASSWORD");
  ::unsetenv("UTP_NATS_TOKEN");
  const auto all = parse_nats_url("nats://me:p%40ss%3aw@bus.example:4223,[::1],other:1");
  ASSERT_TRUE(all) << all.error().message;
  EXPECT_EQ(all->servers, (std::vector<std::string>{"bus.example:4223", "[::1]:4222", "other:1"}));
  EXPECT_EQ(all->user, "me");
  EXPECT_EQ(all->password, "p@ss:w");
  EXPECT_FALSE(all->tls);
  const auto least = parse_nats_url("nats://localhost");
  ASSERT_TRUE(least);
  EXPECT_EQ(least->servers, (std::vector<std::string>{"localhost:4222"}));
  EXPECT_EQ(least->user + least->password + least->token, "");
  const auto token = parse_nats_url("tls://s3cret@localhost/");
  ASSERT_TRUE(token);
  EXPECT_TRUE(token->tls);
  EXPECT_EQ(token->token, "s3cret");
}

TEST(NatsUrl, TakesThePasswordOrTheTokenFromTheEnvironment) {
  ::setenv("UTP_NATS_PASSWORD", "from-there", 1);
  EXPECT_EQ(parse_nats_url("nats://me@localhost")->password, "from-there");
  EXPECT_EQ(parse_nats_url("nats://me:here@localhost")->password, "here");
  EXPECT_EQ(parse_nats_url("nats://localhost")->password, "") << "nobody is named";
  ::unsetenv("UTP_NATS_PASSWORD");
  ::setenv("UTP_NATS_TOKEN", "token-there", 1);
  EXPECT_EQ(parse_nats_url("nats://localhost")->token, "token-there");
  EXPECT_EQ(parse_nats_url("nats://me:here@localhost")->token, "");
  ::unsetenv("UTP_NATS_TOKEN");
}

TEST(NatsUrl, RefusesWhatIsNoneWithoutShowingIt) {
  for (const char* url : {"nats://", "nats://u:hidden@:1", "nats://h:0", "nats://h:hidden", "nats://u:hidden@h/x", "nats://u:hidden%zz@h",
                          "nats://[::1", "nats://[]", "nats://h:70000", "nats://h,", "nats://h,,i", "http://hidden"}) {
    const auto options = parse_nats_url(url);
    ASSERT_FALSE(options) << url;
    EXPECT_EQ(options.error().code, Code::kInvalidArgument) << url;
    EXPECT_EQ(options.error().message.find("hidden"), std::string::npos) << options.error().message;
  }
}

TEST(NatsUrl, APrefixThatIsNoNameIsRefused) {
  for (const char* prefix : {"", "a.b", "a b", "a-b", "*"}) {
    NatsBusOptions options;
    options.prefix = prefix;
    const auto bus = open_nats_bus(options);
    ASSERT_FALSE(bus) << prefix;
    EXPECT_EQ(bus.error().code, Code::kInvalidArgument);
  }
}

}  // namespace
}  // namespace utp::nats_bus
