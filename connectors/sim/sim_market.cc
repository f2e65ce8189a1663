#include "connectors/sim/sim_market.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include <fmt/format.h>

#include "core/hash.h"

namespace utp::sim {
namespace {

constexpr double kYearSeconds = 252 * 6.5 * 3600;
constexpr double kFactorVolatility = 0.16;
constexpr double kPullSeconds = 6 * 3600;  // prices return to their base in about this time
constexpr double kRate = 0.04, kDividend = 0.013;
constexpr std::size_t kExpiries = 4;
constexpr int kStrikes = 41;
constexpr std::int64_t kStrikeStep = 25;

double normal_density(double x) { return std::exp(-0.5 * x * x) * 0.3989422804014327; }
double normal_below(double x) { return 0.5 * std::erfc(-x * 0.7071067811865476); }

// The skew of an index: puts below the price are dearer; short expiries are steeper.
double smile(double strike, double spot, double years) {
  const double moneyness = std::log(strike / spot) / std::sqrt(std::max(years, 7.0 / 365));
  return std::clamp(0.15 - 0.12 * moneyness + 0.20 * moneyness * moneyness, 0.05, 1.5);
}

}  // namespace

Instrument instrument(std::string_view symbol) {
  static constexpr struct {
    std::string_view symbol;
    InstrumentKind kind;
    double base, beta, volatility;
  } kKnown[] = {
      {"SPX", InstrumentKind::kIndex, 6600, 1, 0.01},        {"AAPL", InstrumentKind::kStock, 270, 1.1, 0.20},
      {"MSFT", InstrumentKind::kStock, 480, 1.0, 0.18},      {"TSLA", InstrumentKind::kStock, 400, 1.8, 0.45},
      {"BTC-USD", InstrumentKind::kCoin, 86'000, 1.5, 0.45}, {"ETH-USD", InstrumentKind::kCoin, 2'800, 1.8, 0.60},
  };
  Instrument made{.symbol = std::string(symbol)};
  const auto* const known = std::find_if(std::begin(kKnown), std::end(kKnown), [&](const auto& k) { return k.symbol == symbol; });
  if (known != std::end(kKnown)) {
    made.kind = known->kind;
    made.base = known->base;
    made.beta = known->beta;
    made.volatility = known->volatility;
  } else {
    Random random(hash64(symbol));
    made.kind = symbol.find('-') == std::string_view::npos ? InstrumentKind::kStock : InstrumentKind::kCoin;
    made.base = std::exp(std::log(20.0) + random.unit() * std::log(50.0));
    made.beta = 0.5 + random.unit() * 1.5;
    made.volatility = 0.15 + random.unit() * 0.4;
  }
  if (made.kind == InstrumentKind::kCoin) {
    made.size_digits = 6;
    made.lot = std::max<std::int64_t>(1, std::llround(20'000 / made.base * 1e6));
  }
  made.grid = std::max<std::int64_t>(1, std::llround(made.base * kTicksPerUnit * 2e-5));
  return made;
}

std::uint64_t book_hash(const std::vector<Level>& bids, const std::vector<Level>& asks) {
  constexpr std::size_t kBest = 10;
  std::int64_t numbers[2 * (1 + 2 * kBest)];
  std::size_t count = 0;
  for (const auto* side : {&bids, &asks}) {
    const std::size_t n = std::min(side->size(), kBest);
    numbers[count++] = static_cast<std::int64_t>(n);
    for (std::size_t i = 0; i < n; ++i) {
      numbers[count++] = (*side)[i].price;
      numbers[count++] = (*side)[i].size;
    }
  }
  return hash64({reinterpret_cast<const char*>(numbers), count * sizeof numbers[0]});
}

Market::Market(std::uint64_t seed, const std::vector<std::string>& symbols, int depth, double per_second) : random_(seed), depth_(depth) {
  for (const auto& symbol : symbols) instruments_.push_back(instrument(symbol));
  const auto index = std::find_if(instruments_.begin(), instruments_.end(), [](const auto& i) { return i.kind == InstrumentKind::kIndex; });
  if (index == instruments_.end()) {
    instruments_.push_back(instrument("SPX"));  // the chain needs its underlying, asked for or not
    index_ = instruments_.size() - 1;
  } else {
    index_ = static_cast<std::size_t>(index - instruments_.begin());
  }
  const double step_years = 1 / (std::max(per_second, 1e-6) * kYearSeconds);
  factor_scale_ = kFactorVolatility * std::sqrt(step_years);
  pull_ = std::min(0.5, 1 / (std::max(per_second, 1e-6) * kPullSeconds));
  for (const auto& i : instruments_) {
    own_scale_.push_back(i.volatility * std::sqrt(step_years * static_cast<double>(instruments_.size())));
  }
  own_.assign(instruments_.size(), 0);
  bid_.assign(instruments_.size(), 0);
  ask_.assign(instruments_.size(), 0);
  books_.resize(instruments_.size());
  for (std::size_t i = 0; i < instruments_.size(); ++i) {
    place(i);
    const Instrument& made = instruments_[i];
    for (int level = 0; level < depth_; ++level) {
      books_[i].bids.push_back({bid_[i] - level * made.grid, size_near(i)});
      books_[i].asks.push_back({ask_[i] + level * made.grid, size_near(i)});
    }
  }
}

void Market::place(std::size_t i) {
  const Instrument& made = instruments_[i];
  const double ticks = made.base * kTicksPerUnit * std::exp(made.beta * factor_ + own_[i]);
  bid_[i] = std::max<std::int64_t>(made.grid * (depth_ + 1), std::llround(ticks) / made.grid * made.grid);
  ask_[i] = bid_[i] + made.grid;
}

std::int64_t Market::step(std::size_t i) {
  factor_ += factor_scale_ * shock() - pull_ * factor_;
  own_[i] += own_scale_[i] * shock() - pull_ * own_[i];
  place(i);
  return bid_[i];
}

std::int64_t Market::size_near(std::size_t i) {
  const Instrument& made = instruments_[i];
  if (made.kind != InstrumentKind::kCoin) return made.lot * (1 + static_cast<std::int64_t>(random_.below(12)));
  return 1 + static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(made.lot) * 4));
}

void Market::move_side(std::vector<Level>& side, std::vector<Level>& changes, std::int64_t best, bool bids, const Instrument& made) {
  const auto i = static_cast<std::size_t>(&made - instruments_.data());
  const std::int64_t away = bids ? -made.grid : made.grid;
  const auto beyond = [&](std::int64_t price) { return bids ? price > best : price < best; };
  // What the price ran through is gone.
  std::size_t gone = 0;
  while (gone < side.size() && beyond(side[gone].price)) changes.push_back({side[gone++].price, 0});
  side.erase(side.begin(), side.begin() + static_cast<std::ptrdiff_t>(gone));
  // New levels up to the new best, or below the worst.
  if (side.empty()) side.push_back({best, size_near(i)}), changes.push_back(side.back());
  const std::int64_t missing = std::abs(best - side.front().price) / made.grid;
  const std::int64_t fresh = std::min<std::int64_t>(missing, depth_);
  if (missing > depth_) {
    for (const Level& level : side) changes.push_back({level.price, 0});
    side.clear();
  }
  std::vector<Level> front;
  for (std::int64_t k = 0; k < fresh; ++k) {
    front.push_back({best + away * k, size_near(i)});
    changes.push_back(front.back());
  }
  side.insert(side.begin(), front.begin(), front.end());
  while (side.size() > static_cast<std::size_t>(depth_)) {
    changes.push_back({side.back().price, 0});
    side.pop_back();
  }
  while (side.size() < static_cast<std::size_t>(depth_)) {
    side.push_back({side.back().price + away, size_near(i)});
    changes.push_back(side.back());
  }
}

const BookChanges& Market::update_book(std::size_t i) {
  Book& book = books_[i];
  changes_.bids.clear();
  changes_.asks.clear();
  move_side(book.bids, changes_.bids, bid_[i], true, instruments_[i]);
  move_side(book.asks, changes_.asks, ask_[i], false, instruments_[i]);
  const bool bids = (random_.next() & 1) != 0;
  auto& side = bids ? book.bids : book.asks;
  auto& changes = bids ? changes_.bids : changes_.asks;
  Level& level = side[random_.below(std::min<std::size_t>(side.size(), 10))];
  level.size = size_near(i);
  const auto same = std::find_if(changes.begin(), changes.end(), [&](const Level& c) { return c.price == level.price; });
  if (same != changes.end()) *same = level;
  else changes.push_back(level);
  ++book.revision;
  return changes_;
}

void Market::open_chain(Timestamp now) {
  using namespace std::chrono;
  options_.clear();
  expiries_.assign(kExpiries, {});
  const sys_days today = floor<days>(sys_time<nanoseconds>(nanoseconds(now.ns)));
  sys_days friday = today + (Friday - weekday(today));
  for (std::size_t e = 0; e < kExpiries; ++e, friday += days(7)) {
    Timestamp end{duration_cast<nanoseconds>((friday + hours(21)).time_since_epoch()).count()};
    if (end <= now) {
      friday += days(7);
      end = end + 7 * 86'400'000'000'000;
    }
    fill_expiry(e, end);
  }
}

// Strikes around the price; more interest in round strikes, in puts below and calls above the price.
void Market::fill_expiry(std::size_t expiry, Timestamp end) {
  using namespace std::chrono;
  const year_month_day date(floor<days>(sys_time<nanoseconds>(nanoseconds(end.ns))));
  expiries_[expiry] = {end, fmt::format("{:04}-{:02}-{:02}", int(date.year()), unsigned(date.month()), unsigned(date.day()))};
  const double spot = static_cast<double>(bid_[index_]) / kTicksPerUnit;
  const std::int64_t middle = std::llround(spot / kStrikeStep) * kStrikeStep;
  const std::size_t first = expiry * kStrikes * 2;
  if (options_.size() < first + kStrikes * 2) options_.resize(first + kStrikes * 2);
  for (int k = 0; k < kStrikes * 2; ++k) {
    Option& option = options_[first + static_cast<std::size_t>(k)];
    option.expiry = expiry;
    option.call = k % 2 == 0;
    option.strike = middle + (k / 2 - kStrikes / 2) * kStrikeStep;
    option.symbol = fmt::format("{}-{:04}{:02}{:02}-{}-{}", instruments_[index_].symbol, int(date.year()), unsigned(date.month()),
                                unsigned(date.day()), option.strike, option.call ? 'C' : 'P');
    const double distance = (static_cast<double>(option.strike) / spot - (option.call ? 1.02 : 0.97)) / 0.025;
    const double round = option.strike % 100 == 0 ? 3 : option.strike % 50 == 0 ? 1.5 : 1;
    option.open_interest = std::llround(9000 * std::exp(-distance * distance) * round * (0.6 + 0.8 * random_.unit()) /
                                        (1 + static_cast<double>(expiry))) + 10;
    option.volume = 0;
  }
}

bool Market::roll_chain(Timestamp now) {
  bool rolled = false;
  for (std::size_t e = 0; e < expiries_.size(); ++e) {
    if (expiries_[e].end > now) continue;
    Timestamp end = expiries_[e].end;
    while (end <= now) end = end + static_cast<std::int64_t>(kExpiries) * 7 * 86'400'000'000'000;
    fill_expiry(e, end);
    rolled = true;
  }
  return rolled;
}

OptionValues Market::value(std::size_t o, Timestamp now) {
  Option& option = options_[o];
  option.volume += static_cast<std::int64_t>(random_.below(20));
  const double spot = static_cast<double>(bid_[index_] + ask_[index_]) / (2 * kTicksPerUnit);
  const auto strike = static_cast<double>(option.strike);
  const double years = std::max(static_cast<double>(expiries_[option.expiry].end - now) / (365 * 86'400e9), 1e-5);
  const double iv = smile(strike, spot, years);
  const double root = iv * std::sqrt(years);
  const double d1 = (std::log(spot / strike) + (kRate - kDividend) * years) / root + root / 2;
  const double d2 = d1 - root;
  const double grown = std::exp(-kDividend * years), discounted = std::exp(-kRate * years);
  const double sign = option.call ? 1 : -1;
  const double mark = std::max(0.0, sign * (spot * grown * normal_below(sign * d1) - strike * discounted * normal_below(sign * d2)));
  OptionValues v{};
  v.iv = iv;
  v.spot = spot;
  v.mark = mark;
  const double half = std::max(0.05, mark * 0.005);
  v.bid = std::max(0.0, std::floor((mark - half) * 20) / 20);
  v.ask = std::ceil((mark + half) * 20) / 20;
  v.last = (random_.next() & 1) != 0 ? v.bid : v.ask;
  v.delta = sign * grown * normal_below(sign * d1);
  v.gamma = grown * normal_density(d1) / (spot * root);
  v.vega = spot * grown * normal_density(d1) * std::sqrt(years) / 100;
  v.theta = (-spot * grown * normal_density(d1) * iv / (2 * std::sqrt(years)) - sign * kRate * strike * discounted * normal_below(sign * d2) +
             sign * kDividend * spot * grown * normal_below(sign * d1)) / 365;
  v.rho = sign * strike * years * discounted * normal_below(sign * d2) / 100;
  return v;
}

}  // namespace utp::sim
