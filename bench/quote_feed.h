// A seeded random walk of quotes on a bus, in time order but for a little reordering, as feeds have it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "bench_tools.h"
#include "bus/bus.h"
#include "core/random.h"
#include "normalize/normalizer.h"
#include "schema/registry.h"

namespace utp::bench {

struct QuoteFeedOptions {
  std::uint64_t seed = 1;
  std::size_t symbols = 20;
  std::int64_t start_ns = 1'795'357'800'000'000'000;  // 2026-11-22
  std::int64_t step_max_ns = 200'000;                 // between two quotes
  std::size_t repeat_each = 0;                        // of so many messages one is an earlier one again; 0 = none is
};

class QuoteFeed {
 public:
  static constexpr const char* kSource = "venue.us1";
  static constexpr const char* kRealm = "prod";
  static constexpr const char* kRegion = "local";

  QuoteFeed(const Registry& registry, const QuoteFeedOptions& options)
      : options_(options), random_(options.seed), normalizer_({.source_id = kSource, .realm = kRealm, .region = kRegion}),
        route_(normalizer_.add_route(registry.by_event_type("quotes/v2"))), reader_(registry), time_(options.start_ns) {
    for (std::size_t i = 0; i < options.symbols; ++i) prices_.push_back(random_.between(1'000, 6'000'000));
  }

  // So many messages; `take` is called with each as an Event, valid until it returns. How many are new.
  template <class Take>
  std::size_t publish(Publisher& publisher, std::size_t count, Take take) {
    std::size_t fresh = 0;
    for (std::size_t sent = 0; sent < count;) {
      const std::size_t size = std::min<std::size_t>(kPublishEvents, count - sent);
      texts_.clear();
      while (texts_.size() < size) {
        const bool again = options_.repeat_each > 0 && ++turn_ % options_.repeat_each == 0 && earlier_.size() == kEarlier;
        texts_.push_back(again ? earlier_[random_.below(kEarlier)] : next());
        fresh += again ? 0 : 1;
      }
      std::vector<OutMessage> messages;
      Event event;
      Violation violation;
      for (const auto& [key, value] : texts_) {
        messages.push_back({normalizer_.topic(route_), key, value});
        if (!reader_.read(value, event, violation)) stop(violation.path + ": " + violation.message);
        take(event);
      }
      must(publisher.publish(messages));
      if (options_.repeat_each > 0) {
        for (auto& text : texts_) {
          if (earlier_.size() < kEarlier) earlier_.push_back(std::move(text));
          else earlier_[place_++ % kEarlier] = std::move(text);
        }
      }
      sent += size;
    }
    return fresh;
  }

 private:
  using Text = std::pair<std::string, std::string>;  // key, value
  static constexpr std::size_t kPublishEvents = 1'000, kEarlier = 20'000;

  Text next() {
    const Plan& plan = normalizer_.plan(route_);
    const std::size_t symbol = random_.below(options_.symbols);
    std::int64_t& price = prices_[symbol];
    price = std::max<std::int64_t>(100, price + random_.between(-50, 50));
    time_ += random_.between(0, options_.step_max_ns);
    row_.reset(plan);
    row_.set(*plan.column("bid"), Decimal(price, -2));
    row_.set(*plan.column("ask"), Decimal(price + 1, -2));
    row_.set(*plan.column("mid"), Decimal(price * 10 + 5, -3));
    row_.set(*plan.column("bid_size"), Decimal(random_.between(1, 1'000'000), -4));
    row_.set(*plan.column("ask_size"), Decimal(random_.between(1, 1'000'000), -4));
    row_.set(*plan.column("venue"), std::string_view("venue"));
    row_.set(*plan.column("tick_type"), std::string_view("ticker"));
    const std::string name = "SYM" + std::to_string(symbol) + "-USD";
    const Timestamp event_time{time_ - random_.between(0, 5'000'000)};
    Violation violation;
    batch_.clear();
    if (!normalizer_.normalize(route_, {.symbol = name, .event_time = event_time}, row_, {time_ + 25'000'000}, batch_, violation)) {
      stop(violation.path + ": " + violation.message);
    }
    const EventBatch::Entry& entry = batch_.entries()[0];
    return {std::string(batch_.key(entry)), std::string(batch_.value(entry))};
  }

  QuoteFeedOptions options_;
  Random random_;
  Normalizer normalizer_;
  std::uint32_t route_;
  EventReader reader_;
  std::int64_t time_;
  std::vector<std::int64_t> prices_;
  Row row_;
  EventBatch batch_;
  std::vector<Text> texts_, earlier_;
  std::size_t turn_ = 0, place_ = 0;
};

}  // namespace utp::bench
