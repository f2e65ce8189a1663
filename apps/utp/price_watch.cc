#include "apps/utp/price_watch.h"

#include <fmt/format.h>

namespace utp::app {
namespace {

constexpr std::size_t kMessagesPerStep = 4096;  // more than that between two redraws: only the newest matter
constexpr std::size_t kBytesPerPoll = 1u << 20;
constexpr std::size_t kSymbolsMax = 64;

std::optional<Decimal> number(const Row& row, std::string_view name) {
  const auto column = row.plan().column(name);
  if (!column || row[*column].kind != Kind::kDecimal) return std::nullopt;
  return row[*column].as_decimal();
}

}  // namespace

PriceWatch::PriceWatch(Bus& bus, const Registry& registry, std::string realm) : bus_(bus), realm_(std::move(realm)), reader_(registry) {}

void PriceWatch::step() {
  if (!subscription_) {
    SubscriptionOptions options;
    options.patterns = {fmt::format("utp.{}.*.quotes.v2", realm_), fmt::format("utp.{}.*.trades.v2", realm_)};
    options.start.kind = Start::Kind::kLatest;
    auto subscription = bus_.subscribe(options);
    if (!subscription) return;
    subscription_ = *std::move(subscription);
  }
  std::size_t taken = 0;
  while (taken < kMessagesPerStep) {
    const auto messages = subscription_->poll(1024, kBytesPerPoll, 0);
    if (!messages) {
      subscription_.reset();
      return;
    }
    if (messages->empty()) return;
    for (const InMessage& message : *messages) {
      Violation violation;
      if (reader_.read(message.value, event_, violation)) take(event_);
    }
    taken += messages->size();
  }
  subscription_.reset();
}

void PriceWatch::take(const Event& event) {
  auto at = entries_.find(event.envelope.symbol);
  if (at == entries_.end()) {
    if (entries_.size() >= kSymbolsMax) return;
    at = entries_.emplace(std::string(event.envelope.symbol), Entry{}).first;
    at->second.shown.symbol = at->first;
  }
  Entry& entry = at->second;
  if (const auto price = number(event.row, "price")) {
    if (entry.last) entry.shown.direction = *price > *entry.last ? 1 : *price < *entry.last ? -1 : entry.shown.direction;
    entry.last = price;
    entry.shown.last = price->to_string();
    return;
  }
  if (const auto bid = number(event.row, "bid")) entry.shown.bid = bid->to_string();
  if (const auto ask = number(event.row, "ask")) entry.shown.ask = ask->to_string();
}

std::vector<ViewState::Price> PriceWatch::prices() const {
  std::vector<ViewState::Price> out;
  for (const auto& [symbol, entry] : entries_) out.push_back(entry.shown);
  return out;
}

}  // namespace utp::app
