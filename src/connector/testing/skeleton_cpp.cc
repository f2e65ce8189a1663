#include "connector/testing/skeleton_files.h"

namespace utp::testing {
namespace {

constexpr std::string_view kManifestText = R"~(manifest: 1
id: {{id}}
version: 0.1.0
title: What {{id}} connects to, in a few words
entry: builtin:{{id}}
endpoint: wss://ws.example.com/
event_types:
  - {event_type: quotes/v2, schema_ref: "utp://quotes/2.0.0"}
  - {event_type: trades/v2, schema_ref: "utp://trades/2.0.0"}
channels:
  - {name: ticker, event_types: [quotes/v2], stale_after: 60s}
  - {name: trade, event_types: [trades/v2], stale_after: 10m}
symbols:
  default: [BTC-USD]
  separator: "/"
limits: {connections_per_minute: 30, messages_per_second: 5, subscriptions_per_connection: 50}
)~";

constexpr std::string_view kHeaderText = R"~(#pragma once

#include "connector/collector.h"

namespace utp {

BuiltinConnector {{name}}_connector();

}  // namespace utp
)~";

constexpr std::string_view kCollectorText = R"~(#include "connectors/{{id}}/{{id}}.h"

#include "connector/websocket.h"
#include "connectors/{{id}}/{{id}}_mapper.h"
#include "core/json_writer.h"

namespace utp {
namespace {

Result<std::unique_ptr<Collector>> make_collector(CollectorContext context) {
  WebSocketOptions options;
  options.name = "{{id}}";
  options.url = "wss://ws.example.com/";
  // One message for each wanted stream; many venues take a list in one message.
  options.subscribe = [symbols = context.symbols](std::uint32_t, std::span<const WantedStream> streams) {
    std::vector<std::string> messages;
    for (const WantedStream& stream : streams) {
      JsonWriter json(messages.emplace_back());
      json.begin_object().field("op", "subscribe").field("channel", stream.channel);
      json.field("symbol", symbols->venue(stream.symbol)).end_object();
    }
    return messages;
  };
  return make_websocket_collector(std::move(options), std::move(context));
}

}  // namespace

BuiltinConnector {{name}}_connector() { return {"{{id}}", make_collector, make_{{name}}_mapper}; }

}  // namespace utp
)~";

constexpr std::string_view kMapperHeaderText = R"~(#pragma once

#include <memory>

#include "connector/mapper.h"

namespace utp {

Result<std::unique_ptr<Mapper>> make_{{name}}_mapper(MapperContext context);

}  // namespace utp
)~";

constexpr std::string_view kMapperText = R"~(#include "connectors/{{id}}/{{id}}_mapper.h"

#include <charconv>

#include "connector/event_rows.h"
#include "connector/json_frame.h"

namespace utp {
namespace {

// Frames of this venue:
//   {"channel":"ticker","symbol":"BTC/USD","time":"2026-01-02T03:04:05.000000006Z","bid":1.5,"ask":1.7}
//   {"channel":"trade","symbol":"BTC/USD","time":"...","id":7,"price":1.6,"size":0.5,"side":"buy"}
//   {"channel":"status",...}: nothing
class FrameMapper final : public Mapper {
 public:
  FrameMapper(MapperContext context, EventRows rows) : context_(std::move(context)), rows_(std::move(rows)) {}

  // The whole frame is read before anything is emitted, so that a frame that breaks off becomes nothing.
  void on_frame(const Frame& frame, MapperOutput& output) override {
    if (frame.kind != FrameKind::kWs) return;
    Fields fields;
    FrameError error;
    if (!read(frame.bytes, fields, error)) return output.reject(error.code, error.path, error.message);
    emit(frame, fields, output);
  }

 private:
  struct Fields {
    std::string_view channel, symbol, time, id, side;
    std::optional<Decimal> bid, ask, price, size;
  };

  bool read(std::string_view bytes, Fields& out, FrameError& error) {
    simdjson::ondemand::document document;
    simdjson::ondemand::object object;
    if (const auto code = input_.open(bytes, document)) return json_frame::fail(error, code, "an object");
    if (const auto code = document.get_object().get(object)) return json_frame::fail(error, code, "an object");
    const bool complete = json_frame::fields(object, error, [&](simdjson::ondemand::raw_json_string key, simdjson::ondemand::value value) {
      if (key == "channel") return json_frame::text(value, out.channel, error) || json_frame::at(error, "channel");
      if (key == "symbol") return json_frame::text(value, out.symbol, error) || json_frame::at(error, "symbol");
      if (key == "time") return json_frame::text(value, out.time, error) || json_frame::at(error, "time");
      if (key == "side") return json_frame::text(value, out.side, error) || json_frame::at(error, "side");
      if (key == "id") return json_frame::number_text(value, out.id, error) || json_frame::at(error, "id");
      if (key == "bid") return number(value, out.bid, error) || json_frame::at(error, "bid");
      if (key == "ask") return number(value, out.ask, error) || json_frame::at(error, "ask");
      if (key == "price") return number(value, out.price, error) || json_frame::at(error, "price");
      if (key == "size") return number(value, out.size, error) || json_frame::at(error, "size");
      return true;
    });
    if (!complete) return false;
    return document.current_location().error() == simdjson::OUT_OF_BOUNDS || json_frame::fail(error, "json", "text after the object");
  }

  // Absent where the venue says null. What is there and no number is an error: to leave it out would be a loss that nobody sees.
  static bool number(simdjson::ondemand::value value, std::optional<Decimal>& out, FrameError& error) {
    bool null = false;
    if (const auto code = value.is_null().get(null)) return json_frame::fail(error, code, "a number");
    if (null) return true;
    std::string_view digits;
    return json_frame::number_text(value, digits, error) && json_frame::parse_decimal(digits, out.emplace(), error);
  }

  void emit(const Frame& frame, const Fields& fields, MapperOutput& output) {
    if (fields.channel == "status") return;
    if (fields.channel != "ticker" && fields.channel != "trade") return output.reject("channel", "/channel", "not known: " + std::string(fields.channel));
    const auto time = Timestamp::parse_rfc3339(fields.time);
    if (!time) return output.reject("value", "/time", "expected an RFC 3339 time");
    EventHeader header;
    header.symbol = context_.symbols.canonical(fields.symbol);
    header.event_time = *time;
    bool good = true;
    if (fields.channel == "ticker") {
      if (rows_.quotes()) good = rows_.emit_quote(output, header, {fields.bid, fields.ask, {}, {}, "{{id}}", "ticker"});
    } else {
      if (!fields.price || !fields.size) return output.reject("missing", "", "expected price and size");
      // A number that the venue keeps for good: the same trade, sent again, is known by it.
      std::uint64_t id = 0;
      const auto [end, failed] = std::from_chars(fields.id.data(), fields.id.data() + fields.id.size(), id);
      if (failed != std::errc() || end != fields.id.data() + fields.id.size()) return output.reject("value", "/id", "expected the trade's number");
      header.sequence = id;
      if (rows_.trades()) good = rows_.emit_trade(output, header, {*fields.price, *fields.size, fields.side, fields.id, "{{id}}"});
    }
    if (good) output.alive(frame.connection, fields.channel, header.symbol);
  }

  MapperContext context_;
  EventRows rows_;
  json_frame::Input input_;
};

}  // namespace

Result<std::unique_ptr<Mapper>> make_{{name}}_mapper(MapperContext context) {
  UTP_TRY(EventRows rows, EventRows::make(context));
  return std::make_unique<FrameMapper>(std::move(context), std::move(rows));
}

}  // namespace utp
)~";

constexpr std::string_view kTestText = R"~(#include "connectors/{{id}}/{{id}}.h"

#include <gtest/gtest.h>

#include "connector/testing/test_kit.h"

namespace utp {
namespace {

// The numbered contract cases (docs/connectors.md), from the folder's tests/.
TEST({{name}}_connector, FulfilsTheContract) {
  const auto registry = Registry::builtin();
  ASSERT_TRUE(registry) << registry.error().message;
  const SystemClock clock;
  const BuiltinConnector builtin = {{name}}_connector();
  ContractOptions options;
  options.registry = &*registry;
  options.clock = &clock;
  options.builtin = &builtin;
  for (const ContractResult& result : run_contract(UTP_SOURCE_DIR "/connectors/{{id}}", options)) {
    EXPECT_NE(result.outcome, ContractResult::Outcome::kFailed) << to_text(result);
  }
}

}  // namespace
}  // namespace utp
)~";

constexpr std::string_view kCMakeText = R"~(find_package(simdjson REQUIRED)

utp_library(connector_{{name}}
  SOURCES {{id}}_collector.cc {{id}}_mapper.cc
  PUBLIC utp::connector
  PRIVATE simdjson::simdjson)

utp_test({{name}}_connector_test SOURCES {{id}}_test.cc LIBS utp::connector_{{name}} utp::connector_testing)
)~";

constexpr std::string_view kReadmeText = R"~(# {{id}}

What it connects to, and where the venue documents it.

| channel | becomes | evidence |
|---|---|---|
| `ticker` | `quotes/v2` | `tests/ticker_and_trades` |
| `trade` | `trades/v2` | `tests/ticker_and_trades` |
| `status` | nothing | `tests/status` |

## Next steps

The folder belongs into `connectors/` of the source tree. Three lines make it known to the program:

| file | line | beside |
|---|---|---|
| `apps/utp/ports.cc` | `#include "connectors/{{id}}/{{id}}.h"` | the other connectors' headers |
| `apps/utp/ports.cc` | `{{name}}_connector(),` | `sim_connector(),` in `builtin_connectors()` |
| `apps/utp/CMakeLists.txt` | `utp::connector_{{name}}` | `utp::connector_sim` in `target_link_libraries` |

Then, from the top of the source tree:

    ./utp connector test connectors/{{id}}     builds it and runs its contract cases
    ./utp test {{name}}_connector              the same as a test of the tree

1. Put the venue's address and channels into `connector.manifest.yaml`, the address and the subscription message into
   `{{id}}_collector.cc`, its frames into `{{id}}_mapper.cc`.
2. `./utp capture {{id}} -o today.utpcap --seconds 60` records frames. A case in `tests/` is a few of them and the events that they
   must become.
)~";

constexpr std::string_view kFramesText = R"~({"t":"connect","conn":"0","ts":1767323045.0,"data":"wss://ws.example.com/"}
{"t":"recv","conn":"0","ts":1767323045.1,"data":"{\"channel\":\"ticker\",\"symbol\":\"BTC/USD\",\"time\":\"2026-01-02T03:04:05.000000006Z\",\"bid\":1.5,\"ask\":1.7}"}
{"t":"recv","conn":"0","ts":1767323045.2,"data":"{\"channel\":\"trade\",\"symbol\":\"BTC/USD\",\"time\":\"2026-01-02T03:04:05.1Z\",\"id\":7,\"price\":1.60,\"size\":0.5,\"side\":\"buy\"}"}
{"t":"recv","conn":"0","ts":1767323045.3,"data":"{\"channel\":\"nonsense\"}"}
{"t":"recv","conn":"0","ts":1767323045.4,"data":"{\"channel\":\"ticker\",\"symbol\":\"BTC/USD\",\"time\":\"2026-01-02T03:04:05.2Z\",\"bid\":\"much\",\"ask\":1.7}"}
{"t":"recv","conn":"0","ts":1767323045.5,"data":"{\"channel\":\"status\"} and more"}
)~";

constexpr std::string_view kExpectedText = R"~({"event_type":"quotes/v2","symbol":"BTC-USD","event_time":"2026-01-02T03:04:05.000000006Z","event_time_source":"venue","payload":{"bid":1.5,"ask":1.7,"mid":1.6,"venue":"{{id}}","tick_type":"ticker"}}
{"event_type":"trades/v2","symbol":"BTC-USD","event_time":"2026-01-02T03:04:05.100000000Z","event_time_source":"venue","sequence":7,"payload":{"price":1.6,"size":0.5,"side":"buy","trade_id":"7","venue":"{{id}}"}}
{"reject":{"code":"channel","path":"/channel"}}
{"reject":{"code":"value","path":"/bid"}}
{"reject":{"code":"json","path":""}}
)~";

constexpr std::string_view kStatusFramesText = R"~({"t":"connect","conn":"0","ts":1767323045.0,"data":"wss://ws.example.com/"}
{"t":"recv","conn":"0","ts":1767323045.1,"data":"{\"channel\":\"status\",\"state\":\"online\"}"}
)~";

constexpr std::string_view kWantedText = R"~([{"channel": "ticker", "symbol": "BTC-USD"}, {"channel": "trade", "symbol": "BTC-USD"}]
)~";

constexpr std::string_view kInvalidText = R"~(# expect: did you mean quotes/v2?
manifest: 1
id: {{id}}
version: 0.1.0
entry: builtin:{{id}}
event_types:
  - {event_type: quote/v2, schema_ref: "utp://quotes/2.0.0"}
)~";

}  // namespace

std::span<const SkeletonFile> cpp_skeleton() {
  static constexpr SkeletonFile files[] = {
      {"connector.manifest.yaml", kManifestText},
      {"{{id}}.h", kHeaderText},
      {"{{id}}_collector.cc", kCollectorText},
      {"{{id}}_mapper.h", kMapperHeaderText},
      {"{{id}}_mapper.cc", kMapperText},
      {"{{id}}_test.cc", kTestText},
      {"CMakeLists.txt", kCMakeText},
      {"README.md", kReadmeText},
      {"tests/ticker_and_trades/frames.jsonl", kFramesText},
      {"tests/ticker_and_trades/expected.jsonl", kExpectedText},
      {"tests/ticker_and_trades/wanted.json", kWantedText},
      {"tests/status/frames.jsonl", kStatusFramesText},
      {"tests/status/expected.jsonl", "# These frames must emit nothing.\n"},
      {"tests/invalid/unknown_event_type.yaml", kInvalidText},
  };
  return files;
}

}  // namespace utp::testing
