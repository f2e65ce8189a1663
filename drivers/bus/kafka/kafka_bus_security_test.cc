// The bus on a broker that asks for a user and speaks TLS.
#include <cstdlib>
#include <filesystem>

#include "drivers/bus/kafka/kafka_bus_fixture.h"

namespace utp::kafka_bus_test {
namespace {

constexpr const char* kPassword = "right-s3cret";

class KafkaSecurity : public BusFixture {
 protected:
  void SetUp() override {
    BusFixture::SetUp();
    if (IsSkipped()) return;
    std::string made = (std::filesystem::temp_directory_path() / "utp_kafka_tls_XXXXXX").string();
    ASSERT_NE(::mkdtemp(made.data()), nullptr);
    folder_ = made;
    // The broker's certificate of a private authority, and another authority.
    const std::string authority = "openssl req -x509 " + std::string(kKey) + "-days 2 -subj /CN=authority ";
    const std::string script =
        "cd " + folder_ + " && exec 2>log && " + authority + "-keyout ca.key -out ca.pem && " + authority +
        "-keyout other.key -out other.pem && openssl req " + kKey +
        "-subj /CN=broker -keyout broker.key -out broker.csr && echo subjectAltName=IP:127.0.0.1 >names && "
        "openssl x509 -req -days 2 -in broker.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile names "
        "-out broker.crt && cat broker.key broker.crt ca.pem >broker.pem";
    if (std::system(script.c_str()) != 0) GTEST_SKIP() << "openssl is not installed (Debian: apt-get install openssl)";
  }
  void TearDown() override {
    own_.reset();
    std::error_code ignored;
    if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
    BusFixture::TearDown();
  }
  // The one listener for clients speaks `protocol`.
  void start(const std::string& protocol, const KafkaBusOptions& client) {
    own_ = std::make_unique<KafkaServer>(
        "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:" + protocol +
            "\ninter.broker.listener.name=PLAINTEXT\nsasl.enabled.mechanisms=PLAIN\nsasl.mechanism.inter.broker."
            "protocol=PLAIN\n"
            "listener.name.plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule "
            "required "
            "username=\"chamber\" password=\"" +
            kPassword + "\" user_chamber=\"" + kPassword + "\";\nssl.keystore.type=PEM\nssl.keystore.location=" +
            folder_ + "/broker.pem\nssl.truststore.type=PEM\nssl.truststore.location=" + folder_ + "/ca.pem\n",
        client);
    ASSERT_TRUE(own_->is_running()) << "see " << own_->folder() << "/output";
    open_on(*own_);
  }
  KafkaBusOptions user() const {
    KafkaBusOptions options;
    options.user = "chamber";
    options.password = kPassword;
    return options;
  }
  KafkaBusOptions trusting(KafkaBusOptions options, const std::string& authority = "ca.pem") const {
    options.properties["ssl.ca.location"] = folder_ + "/" + authority;
    return options;
  }
  // As a URL says it.
  Result<std::unique_ptr<Bus>> open_url(const std::string& who, const std::string& rest) {
    UTP_TRY(auto options, parse_kafka_url("kafka://" + who + "127.0.0.1:" + std::to_string(own_->port()) +
                                          "?prefix=" + prefix_ + rest));
    options.trim_every_ns = 0;
    return open_kafka_bus(options);
  }
  std::string ca(const std::string& authority) const { return "&ssl.ca.location=" + folder_ + "/" + authority; }
  void expect_permission(const Result<std::unique_ptr<Bus>>& bus) {
    ASSERT_FALSE(bus);
    const Error& error = bus.error();
    EXPECT_EQ(error.code, Code::kPermission) << error.message;
    EXPECT_FALSE(error.retryable);
    EXPECT_NE(error.message.find("check "), std::string::npos) << error.message;
    EXPECT_EQ(error.message.find("s3cret"), std::string::npos) << error.message;
  }
  void expect_it_works() {
    const auto reader = subscribe("g");
    publish_until_done(*publisher(Durability::kCommit), 0, 100);
    const auto got = receive(*reader, 100);
    EXPECT_EQ(numbers(got), range(0, 100));
    acknowledge(*reader, got.back());
    EXPECT_EQ(stats().groups.at(0).lag, 0u);
    EXPECT_TRUE(bus_->trim());
  }

  static constexpr const char* kKey = "-newkey rsa:2048 -nodes ";
  std::string folder_;
};

TEST_F(KafkaSecurity, AUserWithPasswordAndTls) {
  start("SASL_SSL", trusting(user()));
  if (HasFatalFailure() || bus_ == nullptr) return;
  expect_it_works();
  EXPECT_TRUE(open_url("chamber:" + std::string(kPassword) + "@", ca("ca.pem")));
  expect_permission(open_url("chamber:wrong-s3cret@", ca("ca.pem")));
  expect_permission(open_url("nobody:" + std::string(kPassword) + "@", ca("ca.pem")));
  expect_permission(open_url("chamber:" + std::string(kPassword) + "@", ca("other.pem")));
  for (const auto* other : {"", "&security=sasl_plaintext"}) {
    const auto bus = open_url(*other == '\0' ? "" : "chamber:" + std::string(kPassword) + "@", other);
    ASSERT_FALSE(bus);
    EXPECT_EQ(bus.error().code, Code::kUnavailable) << bus.error().message;
    EXPECT_NE(bus.error().message.find("security"), std::string::npos) << bus.error().message;
  }
}

TEST_F(KafkaSecurity, AUserWithPasswordWithoutTls) {
  start("SASL_PLAINTEXT", [&] {
    KafkaBusOptions options = user();
    options.security = "sasl_plaintext";
    return options;
  }());
  if (HasFatalFailure() || bus_ == nullptr) return;
  expect_it_works();
  const std::string security = "&security=sasl_plaintext";
  EXPECT_TRUE(open_url("chamber:" + std::string(kPassword) + "@", security));
  expect_permission(open_url("chamber:wrong-s3cret@", security));
  const auto tls = open_url("chamber:" + std::string(kPassword) + "@", ca("ca.pem"));
  ASSERT_FALSE(tls);
  EXPECT_NE(tls.error().message.find("security"), std::string::npos) << tls.error().message;
  ASSERT_EQ(::setenv("UTP_KAFKA_PASSWORD", kPassword, 1), 0);
  EXPECT_TRUE(open_url("chamber@", security));
  ::unsetenv("UTP_KAFKA_PASSWORD");
}

}  // namespace
}  // namespace utp::kafka_bus_test
