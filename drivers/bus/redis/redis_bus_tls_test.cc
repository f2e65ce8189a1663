// The Redis bus through TLS, and what its URLs say.
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "drivers/bus/redis/redis_bus_fixture.h"
#include "drivers/bus/redis/redis_cluster.h"

namespace utp::redis_bus_test {
namespace {

class RedisBusTls : public BusFixture {
 protected:
  // Settings of a server with a certificate of a private authority for 127.0.0.1; none where that cannot be made.
  std::vector<std::string> tls_settings() {
    std::string made = (std::filesystem::temp_directory_path() / "utp_redis_tls_XXXXXX").string();
    if (::mkdtemp(made.data()) == nullptr) return {};
    folder_ = made;
    const std::string key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes ";
    const std::string script =
        "cd " + folder_ + " && exec 2>log && openssl req -x509 " + key + "-days 2 -subj /CN=authority -keyout ca.key -out ca.pem && openssl req " +
        key + "-subj /CN=server -keyout server.key -out server.csr && echo subjectAltName=IP:127.0.0.1 >names && " +
        "openssl x509 -req -days 2 -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile names -out server.pem";
    if (std::system(script.c_str()) != 0) return {};
    return {"--tls-cert-file", folder_ + "/server.pem", "--tls-key-file", folder_ + "/server.key", "--tls-ca-cert-file", folder_ + "/ca.pem",
            "--tls-auth-clients", "no"};
  }
  static constexpr const char* kNoOpenssl = "openssl is not installed (Debian: apt-get install openssl)";

  // A server that speaks TLS on a second port.
  void start_tls() {
    const std::vector<std::string> settings = tls_settings();
    if (settings.empty()) GTEST_SKIP() << kNoOpenssl;
    start(settings);
    ASSERT_NE(bus_, nullptr);
    // A port that is free now is free a moment later, nearly always.
    for (tls_port_ = server_->port() + 1; tls_port_ < server_->port() + 50; ++tls_port_) {
      if (server_->command({"CONFIG", "SET", "tls-port", std::to_string(tls_port_)}) == "+OK\r\n") return;
    }
    GTEST_SKIP() << "this redis-server speaks no TLS";
  }
  void TearDown() override {
    std::error_code ignored;
    if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
  }
  RedisBusOptions tls_options() const { return tls_options(tls_port_); }
  RedisBusOptions tls_options(int port) const {
    RedisBusOptions options;
    options.port = port;
    options.trim_every_ns = 0;
    options.tls = true;
    options.ca_file = folder_ + "/ca.pem";
    return options;
  }
  std::string folder_;
  int tls_port_ = 0;
};

TEST_F(RedisBusTls, PublishesAndReadsThroughIt) {
  start_tls();
  if (IsSkipped()) return;
  bus_ = open(tls_options());
  ASSERT_NE(bus_, nullptr);
  auto reader = subscribe("g");
  auto writer = publisher();
  expect_published(*writer, 0, 100, {50'000});  // more than one record and one send at a time
  const auto got = receive(*reader, 100);
  EXPECT_EQ(numbers(got), range(0, 100));
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, got.back().position));
  std::thread other([&] { reader->interrupt(); });
  EXPECT_FALSE(reader->poll(1, 1000, 30 * kSecond));
  other.join();
  server_->stop(SIGKILL);
  EXPECT_FALSE(publish(*writer, 100, 1)) << "and no SIGPIPE";
}

TEST_F(RedisBusTls, LeadsThroughACluster) {
  std::vector<std::string> settings = tls_settings();
  if (settings.empty()) GTEST_SKIP() << kNoOpenssl;
  settings.insert(settings.end(), {"--tls-cluster", "yes", "--tls-port", RedisCluster::kFreePort});
  RedisCluster cluster(15'000, settings);
  for (int node = 0; node < cluster.size(); ++node) {
    bus_ = open(tls_options(std::stoi(value_of(cluster.node(node).command({"CONFIG", "GET", "tls-port"})))));
    ASSERT_NE(bus_, nullptr);
    expect_published(*publisher(), node * 10, 10);
    EXPECT_EQ(receive(*subscribe(), static_cast<std::size_t>(node) * 10 + 10).size(), static_cast<std::size_t>(node) * 10 + 10);
  }
}

TEST_F(RedisBusTls, ACertificateThatIsNotTrustedIsRefused) {
  start_tls();
  if (IsSkipped()) return;
  RedisBusOptions options = tls_options();
  options.ca_file.clear();
  auto bus = open_redis_bus(options);
  ASSERT_FALSE(bus);
  EXPECT_EQ(bus.error().code, Code::kPermission) << bus.error().message;
  EXPECT_NE(bus.error().message.find("UTP_REDIS_CA"), std::string::npos) << bus.error().message;
  options = tls_options();
  options.host = "localhost";  // the certificate names the address alone
  bus = open_redis_bus(options);
  ASSERT_FALSE(bus);
  EXPECT_EQ(bus.error().code, Code::kPermission) << bus.error().message;
  options = tls_options();
  options.ca_file = folder_ + "/nothing.pem";
  bus = open_redis_bus(options);
  ASSERT_FALSE(bus);
  EXPECT_NE(bus.error().message.find("nothing.pem"), std::string::npos) << bus.error().message;
}

TEST_F(RedisBusTls, APortWithoutItIsNamed) {
  start();
  RedisBusOptions options = server_->options();
  options.tls = true;
  options.connect_timeout_ns = kSecond;
  const auto bus = open_redis_bus(options);
  ASSERT_FALSE(bus);
  EXPECT_EQ(bus.error().code, Code::kUnavailable) << bus.error().message;
  EXPECT_NE(bus.error().message.find("TLS"), std::string::npos) << bus.error().message;
}

// ---- URLs ----

TEST(RedisUrl, NamesHostPortUserPasswordAndDatabase) {
  ::unsetenv("UTP_REDIS_PASSWORD");
  const auto all = parse_redis_url("redis://me:p%40ss%3aw@bus.example:6380/7");
  ASSERT_TRUE(all) << all.error().message;
  EXPECT_EQ(all->host, "bus.example");
  EXPECT_EQ(all->port, 6380);
  EXPECT_EQ(all->user, "me");
  EXPECT_EQ(all->password, "p@ss:w");
  EXPECT_EQ(all->database, 7);
  const auto least = parse_redis_url("redis://localhost");
  ASSERT_TRUE(least);
  EXPECT_EQ(least->host, "localhost");
  EXPECT_EQ(least->port, 6379);
  EXPECT_EQ(least->password, "");
  const auto six = parse_redis_url("redis://:w@[::1]:7000");
  ASSERT_TRUE(six);
  EXPECT_EQ(six->host, "::1");
  EXPECT_EQ(six->port, 7000);
  EXPECT_EQ(six->user, "");
  EXPECT_EQ(six->password, "w");
}

TEST(RedisUrl, NamesSeveralServers) {
  const auto options = parse_redis_url("redis://me:p,w@a:7000,[::1]:7001,c/0");
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->password, "p,w");
  EXPECT_EQ(options->host, "a");
  EXPECT_EQ(options->port, 7000);
  EXPECT_EQ(options->others, (std::vector<RedisNode>{{"::1", 7001}, {"c", 6379}}));
}

TEST(RedisUrl, TakesThePasswordFromTheEnvironment) {
  ::setenv("UTP_REDIS_PASSWORD", "from-there", 1);
  EXPECT_EQ(parse_redis_url("redis://localhost")->password, "from-there");
  EXPECT_EQ(parse_redis_url("redis://:here@localhost")->password, "here");
  ::unsetenv("UTP_REDIS_PASSWORD");
}

TEST(RedisUrl, RefusesWhatIsNoneWithoutShowingIt) {
  for (const char* url :
       {"redis://", "redis://:hidden@:1", "redis://h:0", "redis://h:hidden", "redis://u:hidden@h/x",
        "redis://u:hidden%zz@h", "redis://[::1", "redis://h:70000", "redis://h/-1", "http://hidden",
        "redis://u:hidden@a,", "redis://u:hidden@,b", "redis://a,b:hidden", "redis://u:hidden@a,b:0,c"}) {
    const auto options = parse_redis_url(url);
    ASSERT_FALSE(options) << url;
    EXPECT_EQ(options.error().code, Code::kInvalidArgument) << url;
    EXPECT_EQ(options.error().message.find("hidden"), std::string::npos) << options.error().message;
  }
}

TEST(RedisUrl, TellsTlsByItsSchemeAndTheTrustRootByTheEnvironment) {
  EXPECT_FALSE(parse_redis_url("redis://h")->tls);
  ::setenv("UTP_REDIS_CA", "/etc/ca.pem", 1);
  const auto options = parse_redis_url("rediss://u:w@h:6380/1");
  ::unsetenv("UTP_REDIS_CA");
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_TRUE(options->tls);
  EXPECT_EQ(options->host, "h");
  EXPECT_EQ(options->port, 6380);
  EXPECT_EQ(options->ca_file, "/etc/ca.pem");
}

}  // namespace
}  // namespace utp::redis_bus_test
