// What the tests of the NATS bus share.
#pragma once

#include <nats/nats.h>

#include <string>

#include "bus/testing/bus_fixture.h"
#include "drivers/bus/nats/nats_bus.h"
#include "drivers/bus/nats/nats_server.h"

namespace utp::nats_bus_test {

using namespace bus_test;

inline constexpr const char* kStream = "utp-0-utp+test+local+quotes+v2";
inline constexpr const char* kBucket = "KV_utp";

using BusFixture = bus_test::ServerFixture<NatsServer>;

// What an operator does with the server's own tools.
class Operator {
 public:
  explicit Operator(const NatsServer& server) {
    const std::string url = "nats://127.0.0.1:" + std::to_string(server.port());
    EXPECT_EQ(natsConnection_ConnectTo(&connection_, url.c_str()), NATS_OK);
    EXPECT_EQ(natsConnection_JetStream(&js_, connection_, nullptr), NATS_OK);
  }
  ~Operator() {
    jsCtx_Destroy(js_);
    natsConnection_Destroy(connection_);
  }
  Operator(const Operator&) = delete;
  Operator& operator=(const Operator&) = delete;
  void purge_keeping(const char* stream, std::uint64_t keep) {
    jsOptions options;
    jsOptions_Init(&options);
    options.Stream.Purge.Keep = keep;
    EXPECT_EQ(js_PurgeStream(js_, stream, &options, nullptr), NATS_OK);
  }
  void remove_stream(const char* stream) { EXPECT_EQ(js_DeleteStream(js_, stream, nullptr, nullptr), NATS_OK); }
  void remove_message(const char* stream, std::uint64_t sequence) {
    EXPECT_EQ(js_DeleteMsg(js_, stream, sequence, nullptr, nullptr), NATS_OK);
  }
  // What the bucket has for a key; "" when nothing.
  std::string entry(const std::string& key) {
    natsMsg* message = nullptr;
    if (js_GetLastMsg(&message, js_, kBucket, ("$KV.utp." + key).c_str(), nullptr, nullptr) != NATS_OK) return {};
    std::string value(natsMsg_GetData(message), static_cast<std::size_t>(natsMsg_GetDataLength(message)));
    natsMsg_Destroy(message);
    return value;
  }
  jsCtx* js() { return js_; }

 private:
  natsConnection* connection_ = nullptr;
  jsCtx* js_ = nullptr;
};

}  // namespace utp::nats_bus_test
