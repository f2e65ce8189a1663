// The market behind the sim: correlated prices, books and an option chain. No text, no time of its own; the same seed and
// the same calls give the same market.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/random.h"
#include "core/timestamp.h"

namespace utp::sim {

enum class InstrumentKind : std::uint8_t { kIndex, kStock, kCoin };

struct Instrument {
  std::string symbol;
  InstrumentKind kind = InstrumentKind::kStock;
  double base = 100;            // price to which it returns
  double beta = 1;              // on the common factor
  double volatility = 0.3;      // own, a year
  std::int64_t grid = 1;        // distance of price levels, in ticks of 0.01
  int size_digits = 0;          // of a size's fraction
  std::int64_t lot = 100;       // typical size, in units of the last digit
};
inline constexpr int kPriceDigits = 2;
inline constexpr double kTicksPerUnit = 100;

// A known symbol's parameters, or plausible ones made up from the name.
Instrument instrument(std::string_view symbol);

struct Level {
  std::int64_t price = 0;  // ticks
  std::int64_t size = 0;   // units of the last digit; 0 in a change: the level is gone
  friend bool operator==(const Level&, const Level&) = default;
};

// Hash of the best ten levels a side, by which a reader checks its book: XXH3-64 over little-endian i64s, the number of bids,
// their prices and sizes, then the same for the asks.
std::uint64_t book_hash(const std::vector<Level>& bids, const std::vector<Level>& asks);

struct Book {
  std::vector<Level> bids, asks;  // best first
  std::uint64_t revision = 0;     // of the last change; counts up by one per message
};
// What the last update changed; several changes of a level are one.
struct BookChanges {
  std::vector<Level> bids, asks;
};

struct Option {
  std::string symbol;
  std::size_t expiry = 0;  // index into Chain::expiries
  std::int64_t strike = 0;
  bool call = true;
  std::int64_t open_interest = 0;
  std::int64_t volume = 0;
};

struct OptionValues {
  double bid, ask, last, mark, iv, delta, gamma, theta, vega, rho, spot;
};

class Market {
 public:
  // The order of symbols does not matter to prices; `per_second` steps of the common factor make a second.
  Market(std::uint64_t seed, const std::vector<std::string>& symbols, int depth, double per_second);

  const std::vector<Instrument>& instruments() const { return instruments_; }
  std::size_t size() const { return instruments_.size(); }

  // Moves the factor and one price on; its mid in ticks.
  std::int64_t step(std::size_t i);
  std::int64_t best_bid(std::size_t i) const { return bid_[i]; }
  std::int64_t best_ask(std::size_t i) const { return ask_[i]; }
  std::int64_t size_near(std::size_t i);  // a plausible size

  const Book& book(std::size_t i) const { return books_[i]; }
  // Moves the book to the current price and changes a size or two.
  const BookChanges& update_book(std::size_t i);

  // The chain on the index: strikes around the price at the start, the next four Fridays.
  void open_chain(Timestamp now);
  const std::vector<Option>& options() const { return options_; }
  const std::string& expiry_date(const Option& option) const { return expiries_[option.expiry].date; }
  OptionValues value(std::size_t option, Timestamp now);
  // Expired contracts make place for later ones; true when there were any.
  bool roll_chain(Timestamp now);

  Random& random() { return random_; }

 private:
  struct Expiry {
    Timestamp end;
    std::string date;
  };
  double shock() {  // about normal, from one draw
    const std::uint64_t r = random_.next();
    const auto sum = static_cast<double>((r & 0xFFFF) + ((r >> 16) & 0xFFFF) + ((r >> 32) & 0xFFFF) + (r >> 48));
    return (sum - 131'070.0) * (1.7320508 / 65'535.0);
  }
  void place(std::size_t i);
  void move_side(std::vector<Level>& side, std::vector<Level>& changes, std::int64_t best, bool bids, const Instrument& instrument);
  void fill_expiry(std::size_t expiry, Timestamp end);

  std::vector<Instrument> instruments_;
  Random random_;
  std::vector<Book> books_;
  std::vector<std::int64_t> bid_, ask_;
  std::vector<double> own_;  // log distance from base, own part
  std::vector<double> own_scale_;
  double factor_ = 0, factor_scale_ = 0, pull_ = 0;
  int depth_;
  BookChanges changes_;
  std::size_t index_ = 0;  // the option chain's underlying
  std::vector<Option> options_;
  std::vector<Expiry> expiries_;
};

}  // namespace utp::sim
