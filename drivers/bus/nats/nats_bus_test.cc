// What the NATS bus does where the server, its settings or other programs get in its way.
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "core/hash.h"
#include "drivers/bus/nats/feed.h"
#include "drivers/bus/nats/nats_bus_fixture.h"
#include "drivers/bus/nats/nats_proxy.h"
#include "drivers/bus/nats/server.h"
#include "model/envelope.h"

namespace utp::nats_bus_test {
namespace {

class NatsBus : public BusFixture {};

// ---- messages that others remove ----

TEST_F(NatsBus, LagIsExactInTheMiddleAndAfterRemovals) {
  start();
  auto writer = publisher();
  expect_published(*writer, 0, 10);
  auto middle = subscribe("middle", {Start::Kind::kLatest, {}});
  expect_published(*writer, 10, 5);
  EXPECT_EQ(group("middle").lag, 5u);
  auto reader = subscribe("g");
  const auto got = receive(*reader, 15);
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, got[9].position));
  Operator(*server_).remove_message(kStream, 5);
  EXPECT_EQ(group("g").lag, 5u);
  EXPECT_EQ(group("middle").lag, 5u);
  EXPECT_EQ(stats().messages, 14u);
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, got[14].position));
  EXPECT_EQ(group("g").lag, 0u);
  EXPECT_EQ(stats().published, 15u);
}

// ---- traps of the server and the client library ----

TEST_F(NatsBus, AStartTimeJustBehindAWholeSecondIsFound) {
  start();
  auto writer = publisher();
  // The library's own way of writing a time leaves out zeros behind the point.
  std::vector<Message> all;
  const auto is_early = [&] { return !all.empty() && all.back().time.ns % kSecond < kSecond / 10; };
  auto reader = subscribe();
  for (int i = 0; i < 1000 && !is_early(); ++i) {
    expect_published(*writer, i, 1);
    all.push_back(receive(*reader, 1)[0]);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ASSERT_TRUE(is_early());
  EXPECT_EQ(numbers(receive(*subscribe("", {Start::Kind::kTime, all.back().time}), 1)), range(all.back().number, 1));
}

TEST_F(NatsBus, ARefusedMessageHoldsBackThoseBehindIt) {
  start();
  auto writer = publisher();
  expect_published(*writer, 0, 1);
  // A stream that somebody set up to refuse long messages.
  {
    Operator tools(*server_);
    jsStreamInfo* info = nullptr;
    ASSERT_EQ(js_GetStreamInfo(&info, tools.js(), kStream, nullptr, nullptr), NATS_OK);
    info->Config->MaxMsgSize = 500;
    EXPECT_EQ(js_UpdateStream(nullptr, tools.js(), info->Config, nullptr, nullptr), NATS_OK);
    jsStreamInfo_Destroy(info);
  }
  const std::string large = "2" + std::string(1000, ' ');
  const OutMessage batch[] = {{kTopic, "K", "1"}, {kTopic, "K", large}, {kTopic, "K", "3"}, {kTopic, "K", "4"}};
  const auto status = writer->publish(batch);
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message.find("size"), std::string::npos) << status.error().message;
  EXPECT_EQ(numbers(receive(*subscribe(), 2)), range(0, 2));
  EXPECT_EQ(stats().published, 2u) << "what follows a refused message is refused, too";
}

TEST_F(NatsBus, TwoEqualMessagesAreTwo) {
  start();
  auto writer = publisher();
  auto other = publisher();
  const OutMessage twice[] = {{kTopic, "K", "1"}, {kTopic, "K", "1"}};
  ASSERT_TRUE(writer->publish(twice));
  ASSERT_TRUE(writer->publish(twice));
  ASSERT_TRUE(other->publish(twice));
  EXPECT_EQ(stats().published, 6u);
}

TEST_F(NatsBus, WhatTheDriverRepeatsAfterABrokenConnectionIsStoredOnce) {
  start();
  NatsProxy proxy(server_->port());
  NatsBusOptions options = server_->options();
  options.servers = {"127.0.0.1:" + std::to_string(proxy.port())};
  auto through = open(options);
  auto made = through->publisher({Durability::kInterval});
  ASSERT_TRUE(made);
  expect_published(**made, 0, 1);
  proxy.swallow_answers();
  std::thread writer([&] { expect_published(**made, 1, 100); });
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (stats().published < 101 && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(stats().published, 101u);
  proxy.cut();  // the server has all of it, and the publisher does not know
  writer.join();
  EXPECT_EQ(stats().published, 101u);
  EXPECT_EQ(numbers(receive(*subscribe(), 101)), range(0, 101));
}

// Messages that are ready to be handed out wait for a note on the server: a connection that breaks then is made anew for it.
TEST_F(NatsBus, GoesOnWhenTheConnectionBreaksBeforeWhatIsHandedOutIsNotedDown) {
  start();
  expect_published(*publisher(), 0, 10);
  EXPECT_EQ(receive(*subscribe("g"), 1).size(), 1u);  // leaves without an acknowledgement: the next one notes down what it hands out
  NatsProxy proxy(server_->port());
  NatsBusOptions options = server_->options();
  options.servers = {"127.0.0.1:" + std::to_string(proxy.port())};
  options.answer_timeout_ns = 500'000'000;
  auto through = open(options);
  SubscriptionOptions wanted;
  wanted.patterns = {kTopic};
  wanted.group = "g";
  auto reader = through->subscribe(wanted);
  ASSERT_TRUE(reader) << reader.error().message;
  auto got = (*reader)->poll(1, 1 << 20, 10'000'000'000);
  ASSERT_TRUE(got) << got.error().message;
  ASSERT_EQ(got->size(), 1u);
  proxy.swallow_answers();
  (void)(*reader)->poll(1, 1 << 20, 0);  // its note is not answered
  proxy.cut();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  do got = (*reader)->poll(1, 1 << 20, 1'000'000'000);
  while ((!got || got->empty()) && std::chrono::steady_clock::now() < deadline);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->size(), 1u);
}

TEST_F(NatsBus, SubscriptionsMayEndWhileMessagesCome) {
  start();
  // The library's reading thread uses a subscription that it has found without a reference of its own.
  std::atomic<bool> done{false};
  std::thread writer([&] {
    auto made = publisher();
    for (int i = 0; !done; i += 50) expect_published(*made, i, 50);
  });
  for (int i = 0; i < 100; ++i) {
    auto reader = subscribe(i % 2 == 0 ? "g" : "", {Start::Kind::kLatest, {}});
    EXPECT_TRUE(reader->poll(10, 1 << 20, 1'000'000));
  }
  done = true;
  writer.join();
}

TEST_F(NatsBus, AFeedReadsItsSubjectsOnly) {
  start();
  // A list of subjects is left out without a word by servers before 2.10; one subject is what we ask for, and what comes back is
  // compared.
  auto link = nats_bus::Link::connect(server_->options());
  ASSERT_TRUE(link);
  nats_bus::Server server(server_->options());
  for (const std::string key : {"group.a.x", "group.a.y", "group.b.x"}) ASSERT_TRUE(server.put(**link, key, key));
  std::vector<std::string> got;
  ASSERT_TRUE(nats_bus::read_all(*link, {kBucket, "$KV.utp.group.a.>", 1, true}, [&](const nats_bus::Delivery&, natsMsg* message) {
    got.emplace_back(natsMsg_GetData(message), static_cast<std::size_t>(natsMsg_GetDataLength(message)));
  }));
  EXPECT_EQ(got, (std::vector<std::string>{"group.a.x", "group.a.y"}));
}

TEST_F(NatsBus, ConsumersThatSomebodyRemovedAreMadeAgain) {
  start();
  auto writer = publisher();
  auto reader = subscribe("g");
  auto lone = subscribe();
  expect_published(*writer, 0, 3);
  EXPECT_EQ(receive(*reader, 3).size(), 3u);
  EXPECT_EQ(receive(*lone, 3).size(), 3u);
  EXPECT_TRUE(reader->poll(1, 1000, 1'000'000)) << "one of them waits in the server";
  Operator tools(*server_);
  for (const char* stream : {kStream, kBucket}) {
    jsConsumerNamesList* list = nullptr;
    ASSERT_EQ(js_ConsumerNames(&list, tools.js(), stream, nullptr, nullptr), NATS_OK);
    for (int i = 0; i < list->Count; ++i) EXPECT_EQ(js_DeleteConsumer(tools.js(), stream, list->List[i], nullptr, nullptr), NATS_OK);
    jsConsumerNamesList_Destroy(list);
  }
  expect_published(*writer, 3, 3);
  EXPECT_EQ(numbers(receive(*reader, 3)), range(3, 3));
  EXPECT_EQ(numbers(receive(*lone, 3)), range(3, 3));
}

TEST_F(NatsBus, PublishersOfSeveralBusesOnOnePartitionKeepTheirOrder) {
  start();
  auto other = open(server_->options());  // its publishers do not take turns with ours
  constexpr int kEach = 3000;
  const auto write = [&](Bus& bus, const std::string& key) {
    auto made = bus.publisher({Durability::kInterval});
    ASSERT_TRUE(made);
    std::vector<std::string> values;
    for (int i = 0; i < kEach; ++i) values.push_back(std::to_string(i));
    for (int i = 0; i < kEach; i += 300) {
      std::vector<OutMessage> messages;
      for (int j = i; j < i + 300; ++j) messages.push_back({kTopic, key, values[static_cast<std::size_t>(j)]});
      const auto status = (*made)->publish(messages);
      ASSERT_TRUE(status) << status.error().message;
    }
  };
  std::thread a([&] { write(*bus_, "a"); });
  std::thread b([&] { write(*other, "b"); });
  a.join();
  b.join();
  EXPECT_EQ(stats().published, 2u * kEach);
  auto reader = subscribe();
  std::map<std::string, int> next;
  for (int got = 0; got < 2 * kEach;) {
    const auto messages = reader->poll(1000, 64 << 20, kSecond);
    ASSERT_TRUE(messages);
    for (const InMessage& m : *messages) ASSERT_EQ(std::stoi(std::string(m.value)), next[std::string(m.key)]++) << m.key;
    got += static_cast<int>(messages->size());
  }
}

TEST_F(NatsBus, AnyKeyGoesThrough) {
  start();
  auto writer = publisher();
  const std::vector<std::string> keys = {"", "a b", "a\r\nNats-Rollup: all", std::string("\0\xff%", 3), std::string(kNatsBusKeyBytesMax, '\n')};
  for (const std::string& key : keys) {
    const OutMessage message{kTopic, key, "1"};
    ASSERT_TRUE(writer->publish({&message, 1}));
  }
  const std::string largest(kEnvelopeBytesMax, 'x');
  const OutMessage message{kTopic, keys.back(), largest};
  ASSERT_TRUE(writer->publish({&message, 1}));
  auto reader = subscribe();
  std::vector<std::string> got;
  while (got.size() < keys.size() + 1) {
    const auto messages = reader->poll(10, 1 << 20, kSecond);
    ASSERT_TRUE(messages);
    for (const InMessage& m : *messages) got.emplace_back(m.key);
  }
  EXPECT_EQ(std::vector<std::string>(got.begin(), got.end() - 1), keys);
  EXPECT_EQ(got.back(), keys.back());
}

TEST_F(NatsBus, GroupsAndMembersMayHaveAnyPrintableName) {
  start();
  expect_published(*publisher(), 0, 5);
  for (const std::string name : {"a.b", "a", "*", ">", "=2E", "$KV/x"}) {
    SubscriptionOptions options;
    options.patterns = {kTopic};
    options.group = name;
    options.member = name + "!";
    auto reader = bus_->subscribe(options);
    ASSERT_TRUE(reader) << name;
    EXPECT_TRUE((*reader)->acknowledge(kTopic, 0, receive(**reader, 5)[2].position));
    EXPECT_EQ(group(name).lag, 2u);
    EXPECT_EQ(group(name).members, std::vector<std::string>{name + "!"});
  }
  EXPECT_TRUE(bus_->delete_group("a"));
  EXPECT_EQ(group("a.b").lag, 2u) << "the other group whose name begins like it";
  EXPECT_EQ(stats().groups.size(), 5u);
}

TEST_F(NatsBus, ProgressIsTextInTheBucket) {
  start();
  expect_published(*publisher(), 0, 10);
  auto reader = subscribe("g");
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, receive(*reader, 10)[6].position));
  const std::string entry = Operator(*server_).entry("group.g.progress.0." + std::string(kTopic));
  EXPECT_TRUE(entry.starts_with("acknowledged=")) << entry;
  EXPECT_NE(entry.find("-7 owner="), std::string::npos) << entry;
}

TEST_F(NatsBus, AStreamOfAnotherProgramIsNotTouched) {
  start();
  Operator tools(*server_);
  const char* subjects[] = {"utp.0.utp.test.local.quotes.v2"};
  jsStreamConfig config;
  jsStreamConfig_Init(&config);
  config.Name = kStream;
  config.Subjects = subjects;
  config.SubjectsLen = 1;
  ASSERT_EQ(js_AddStream(nullptr, tools.js(), &config, nullptr, nullptr), NATS_OK);
  const auto status = publish(*publisher(), 0, 1);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kCorrupt) << status.error().message;
}

// ---- who may come in ----

TEST_F(NatsBus, SaysWhatIsWrongWithAPassword) {
  server_ = std::make_unique<NatsServer>(std::vector<std::string>{"--user", "me", "--pass", "right"});
  NatsBusOptions options = server_->options();
  for (const std::string password : {"", "wrong"}) {
    options.user = password.empty() ? "" : "me";
    options.password = password;
    const auto bus = open_nats_bus(options);
    ASSERT_FALSE(bus);
    EXPECT_EQ(bus.error().code, Code::kPermission) << bus.error().message;
    EXPECT_NE(bus.error().message.find("UTP_NATS_PASSWORD"), std::string::npos) << bus.error().message;
    EXPECT_EQ(bus.error().message.find("wrong"), std::string::npos);
  }
  options.user = "me";
  options.password = "right";
  bus_ = open(options);
  ASSERT_NE(bus_, nullptr);
  expect_published(*publisher(), 0, 3);
  EXPECT_EQ(receive(*subscribe("g"), 3).size(), 3u);
}

TEST_F(NatsBus, TakesAToken) {
  server_ = std::make_unique<NatsServer>(std::vector<std::string>{"--auth", "word"});
  NatsBusOptions options = server_->options();
  options.token = "word";
  bus_ = open(options);
  ASSERT_NE(bus_, nullptr);
  expect_published(*publisher(), 0, 3);
}

class Configured {
 public:
  explicit Configured(const std::string& text) {
    std::string name = (std::filesystem::temp_directory_path() / "utp_nats_conf_XXXXXX").string();
    const int fd = ::mkstemp(name.data());
    EXPECT_EQ(::write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    ::close(fd);
    path_ = name;
  }
  ~Configured() { std::filesystem::remove(path_); }
  Configured(const Configured&) = delete;
  Configured& operator=(const Configured&) = delete;
  std::vector<std::string> arguments() const { return {"-c", path_}; }

 private:
  std::string path_;
};

TEST_F(NatsBus, TlsIsVerified) {
  const std::string folder = (std::filesystem::temp_directory_path() / ("utp_nats_tls_" + std::to_string(::getpid()))).string() + "/";
  std::filesystem::create_directory(folder);
  const auto run = [&](const std::string& command) { return std::system(("cd " + folder + " && " + command + " >/dev/null 2>&1").c_str()) == 0; };
  const std::string request = "openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes ";
  const bool made = run(request + "-x509 -days 2 -subj /CN=test-ca -keyout ca.key -out ca.pem") &&
                    run(request + "-subj /CN=server -keyout server.key -out server.csr") &&
                    static_cast<bool>(std::ofstream(folder + "ext") << "subjectAltName=IP:127.0.0.1" << std::endl) &&
                    run("openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out server.pem");
  if (!made) GTEST_SKIP() << "openssl is not installed (Debian: apt-get install openssl)";
  server_ = std::make_unique<NatsServer>(
      std::vector<std::string>{"--tls", "--tlscert", folder + "server.pem", "--tlskey", folder + "server.key"});
  NatsBusOptions options = server_->options();
  const auto plain = open_nats_bus(options);
  ASSERT_FALSE(plain);
  EXPECT_EQ(plain.error().code, Code::kPermission) << plain.error().message;
  EXPECT_NE(plain.error().message.find("tls://"), std::string::npos) << plain.error().message;
  options.tls = true;
  const auto unknown = open_nats_bus(options);
  ASSERT_FALSE(unknown) << "nobody vouches for the server's certificate";
  EXPECT_EQ(unknown.error().code, Code::kPermission) << unknown.error().message;
  options.ca_file = folder + "ca.pem";
  bus_ = open(options);
  ASSERT_NE(bus_, nullptr);
  expect_published(*publisher(), 0, 3);
  EXPECT_EQ(receive(*subscribe("g"), 3).size(), 3u);
  options.ca_file = folder + "missing.pem";
  const auto missing = open_nats_bus(options);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::kInvalidArgument) << missing.error().message;
  std::filesystem::remove_all(folder);
}

TEST_F(NatsBus, AUserWithTheRightsOfTheReadmeIsEnough) {
  const Configured settings(
      "authorization { users = [{ user: chamber, password: word, permissions: {\n"
      "  publish: [\"utp.>\", \"$KV.utp.>\", \"$JS.API.>\"], subscribe: [\"_INBOX.>\"] } }] }\n");
  server_ = std::make_unique<NatsServer>(settings.arguments());
  NatsBusOptions options = server_->options();
  options.user = "chamber";
  options.password = "word";
  bus_ = open(options);
  ASSERT_NE(bus_, nullptr);
  expect_published(*publisher(), 0, 3);
  auto reader = subscribe("g");
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, receive(*reader, 3).back().position));
  EXPECT_EQ(group("g").lag, 0u);
  EXPECT_TRUE(bus_->trim());
  EXPECT_TRUE(bus_->delete_group("g"));
}

TEST_F(NatsBus, AUserWithoutRightsIsTold) {
  const Configured settings(
      "authorization { users = [{ user: nobody, password: word, permissions: {\n"
      "  publish: [\"$KV.utp.>\", \"$JS.API.>\"], subscribe: [\"_INBOX.>\"] } }] }\n");
  server_ = std::make_unique<NatsServer>(settings.arguments());
  NatsBusOptions options = server_->options();
  options.user = "nobody";
  options.password = "word";
  options.answer_timeout_ns = kSecond / 2;  // the server does not answer what it refuses
  bus_ = open(options);
  ASSERT_NE(bus_, nullptr);
  const auto status = publish(*publisher(), 0, 1);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kPermission) << status.error().message;
}

// ---- settings and limits ----

TEST_F(NatsBus, AServerWithoutJetStreamIsRefused) {
  class Plain final : public bus_test::ServerProcess {
   public:
    Plain() : ServerProcess("nats") { start(); }

   private:
    std::vector<std::string> command() override {
      return {NatsServer::program(), "-a", "127.0.0.1", "-p", std::to_string(port())};
    }
    bool answers() const override {
      const int fd = connect();
      ::close(fd);
      return fd >= 0;
    }
  } plain;
  NatsBusOptions options;
  options.servers = {"127.0.0.1:" + std::to_string(plain.port())};
  const auto bus = open_nats_bus(options);
  ASSERT_FALSE(bus);
  EXPECT_EQ(bus.error().code, Code::kUnsupported) << bus.error().message;
  EXPECT_NE(bus.error().message.find("-js"), std::string::npos) << bus.error().message;
}

TEST_F(NatsBus, AServerForSmallMessagesIsRefused) {
  const Configured settings("max_payload: 64KB\n");
  server_ = std::make_unique<NatsServer>(settings.arguments());
  const auto bus = open_nats_bus(server_->options());
  ASSERT_FALSE(bus);
  EXPECT_EQ(bus.error().code, Code::kUnsupported);
  EXPECT_NE(bus.error().message.find("max_payload"), std::string::npos) << bus.error().message;
}

TEST_F(NatsBus, AFullServerIsFullAndOrderHolds) {
  const Configured settings("jetstream { max_file_store: 4MB }\n");
  start(settings.arguments());
  NatsBusOptions options = server_->options();
  options.retention_bytes = std::uint64_t{3} << 20;
  bus_ = open(options);
  expect_published(*publisher(), 0, 1);
  // There is no room for the limit of a second topic.
  const auto status = bus_->configure_topic("utp.test.local.trades.v2", {.partitions = 1});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kFull) << status.error().message;
  EXPECT_TRUE(status.error().retryable);
  EXPECT_NE(status.error().message.find("max_file_store"), std::string::npos) << status.error().message;
  for (int i = 0; i < 200; ++i) expect_published(*publisher(), i * 50, 50, {1000});
  EXPECT_LE(stats().bytes, options.retention_bytes);
}

TEST_F(NatsBus, ManyTopicsAreListed) {
  start();
  for (int i = 0; i < 300; ++i) {  // more than one page of the server's list
    ASSERT_TRUE(bus_->configure_topic("utp.test.t" + std::to_string(i), {.partitions = 1, .retention_bytes = 1 << 20}));
  }
  const auto topics = bus_->stats("utp.test.>");
  ASSERT_TRUE(topics) << topics.error().message;
  EXPECT_EQ(topics->size(), 300u);
}

TEST_F(NatsBus, RetentionMayChange) {
  start();
  ASSERT_TRUE(bus_->configure_topic(kTopic, {.partitions = 2, .retention_ns = 3600 * kSecond, .retention_bytes = 4 << 20}));
  ASSERT_TRUE(bus_->configure_topic(kTopic, {.partitions = 2, .retention_ns = kSecond, .retention_bytes = 8 << 20}));
  jsStreamInfo* info = nullptr;
  Operator tools(*server_);
  ASSERT_EQ(js_GetStreamInfo(&info, tools.js(), kStream, nullptr, nullptr), NATS_OK);
  EXPECT_EQ(info->Config->MaxAge, kSecond);
  EXPECT_EQ(info->Config->MaxBytes, 4 << 20);
  EXPECT_EQ(info->Config->Discard, js_DiscardOld);
  jsStreamInfo_Destroy(info);
  ASSERT_TRUE(bus_->configure_topic(kTopic, {.partitions = 2, .retention_bytes = 2 << 20})) << "no limit by age any more";
}

}  // namespace
}  // namespace utp::nats_bus_test
