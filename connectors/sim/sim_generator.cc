#include "connectors/sim/sim_generator.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/hash.h"
#include "core/json_writer.h"

namespace utp::sim {
namespace {

constexpr std::string_view kAddress = "sim:market";
constexpr std::string_view kDefaultSymbols[] = {"SPX", "AAPL", "MSFT", "TSLA", "BTC-USD", "ETH-USD"};
constexpr std::int64_t kLatencyNs = 400'000;  // of virtual time: from the event to its receipt
constexpr std::size_t kSymbolsMax = 5'000;

// An index is quoted; it has no trades and no book of its own.
bool offered(Channel channel, const Instrument& instrument) {
  return channel == Channel::kQuotes || instrument.kind != InstrumentKind::kIndex;
}

constexpr struct {
  std::string_view pattern;  // {} stands for the symbol
  int sentiment;             // hundredths
} kHeadlines[] = {
    {"{} beats estimates, raises full-year outlook", 72},
    {"{} slips as traders take profits", -31},
    {"Analysts lift {} price target, citing \\\"durable demand\\\"", 55},
    {"{} unchanged ahead of Fed minutes", 0},
    {"Regulator opens inquiry into {} suppliers", -64},
    {"{}: caf\\u00e9-chain partnership widens reach", 28},
    {"Options desks see heavy {} call buying", 41},
    {"{} falls with broad risk-off move", -48},
};

constexpr struct {
  std::string_view name, country, unit, importance;
  int forecast, previous;  // tenths
} kReleases[] = {
    {"CPI m/m", "US", "%", "high", 2, 3},          {"Unemployment Claims", "US", "K", "medium", 2250, 2270},
    {"ISM Services PMI", "US", "", "high", 521, 518}, {"Crude Oil Inventories", "US", "M", "low", -12, 20},
    {"GDP q/q", "UK", "%", "medium", 1, 3},        {"Main Refinancing Rate", "EU", "%", "high", 20, 20},
    {"Bank Holiday", "JP", "", "holiday", 0, 0},
};

}  // namespace

WireText& WireText::number(double value, int digits) {
  static constexpr double kScale[] = {1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8};
  return fixed(std::llround(value * kScale[digits]), digits);
}

Result<Generator> Generator::make(Settings settings, std::uint64_t seed, const std::vector<WantedStream>& wanted) {
  std::vector<std::string> symbols;
  const auto number_of = [&](std::string_view symbol) {
    const auto at = std::find(symbols.begin(), symbols.end(), symbol);
    if (at == symbols.end()) {
      symbols.emplace_back(symbol);
      return symbols.size() - 1;
    }
    return static_cast<std::size_t>(at - symbols.begin());
  };
  std::vector<WantedStream> streams = wanted;
  if (streams.empty()) {
    for (std::size_t c = 0; c < kChannels; ++c) {
      for (const auto symbol : kDefaultSymbols) {
        streams.push_back({std::string(kChannelNames[c]), per_symbol(static_cast<Channel>(c)) ? std::string(symbol) : ""});
        if (!per_symbol(static_cast<Channel>(c))) break;
      }
    }
  }
  std::vector<std::pair<Channel, std::size_t>> found;
  for (const auto& stream : streams) {
    const auto name = std::find(std::begin(kChannelNames), std::end(kChannelNames), stream.channel);
    if (name == std::end(kChannelNames)) {
      return fail(Code::kInvalidArgument, fmt::format("sim: there is no channel \"{}\"; it has {}", stream.channel, fmt::join(kChannelNames, ", ")));
    }
    const auto channel = static_cast<Channel>(name - std::begin(kChannelNames));
    if (per_symbol(channel) && stream.symbol.empty()) {
      return fail(Code::kInvalidArgument, fmt::format("sim: the channel \"{}\" is wanted without a symbol", stream.channel));
    }
    for (const char c : stream.symbol) {
      if (c <= ' ' || c > '~' || c == '"' || c == '\\') {
        return fail(Code::kInvalidArgument, fmt::format("sim: \"{}\" is no symbol it can make up: letters, digits and punctuation only", stream.symbol));
      }
    }
    found.emplace_back(channel, per_symbol(channel) ? number_of(stream.symbol) : 0);
  }
  if (symbols.size() > kSymbolsMax) return fail(Code::kInvalidArgument, fmt::format("sim: {} symbols; it makes up at most {}", symbols.size(), kSymbolsMax));
  Generator made(std::move(settings), seed, std::move(symbols));
  std::string channels;
  for (const auto& [channel, i] : found) {
    const bool with_symbol = per_symbol(channel);
    const bool there = !with_symbol || offered(channel, made.market_.instruments()[i]);
    auto& list = made.streams_[static_cast<std::size_t>(channel)];
    if (there && std::find(list.begin(), list.end(), i) == list.end()) list.push_back(i);
    const auto name = kChannelNames[static_cast<std::size_t>(channel)];
    made.acknowledge_.push_back({Step::kAcknowledge, i, fmt::format("\"ch\":\"subscribed\",\"channel\":\"{}\",{}\"available\":{}}}", name,
                                                                    with_symbol ? made.quoted_[i] + "," : "", there)});
    channels += fmt::format("{}{{\"channel\":\"{}\",\"sym\":\"{}\"}}", channels.empty() ? "" : ",", name,
                            with_symbol ? made.market_.instruments()[i].symbol : "");
  }
  made.subscribe_ = fmt::format("{{\"op\":\"subscribe\",\"streams\":[{}]}}", channels);
  double total = 0;
  for (std::size_t c = 0; c < kChannels; ++c) total += made.streams_[c].empty() ? 0 : made.settings_.rates[c];
  if (total <= 0) return fail(Code::kInvalidArgument, "sim: every wanted channel has a rate of 0, so nothing would ever come; raise one of \"rates\"");
  double sum = 0;
  for (std::size_t c = 0; c < kChannels; ++c) {
    sum += made.streams_[c].empty() ? 0 : made.settings_.rates[c];
    made.thresholds_[c] = sum / total;
  }
  made.interval_ns_ = std::max<std::int64_t>(1, std::llround(1e9 / total));
  made.open();
  return made;
}

Generator::Generator(Settings settings, std::uint64_t seed, std::vector<std::string> symbols)
    : settings_(std::move(settings)),
      market_(seed, symbols, settings_.book_depth, settings_.rates[0] + settings_.rates[1] + settings_.rates[2]),
      faults_(seed ^ 0x5DEECE66Dull),
      virtual_ns_(settings_.start.ns) {
  for (const auto& i : market_.instruments()) quoted_.push_back(fmt::format("\"sym\":\"{}\"", i.symbol));
  trade_id_.assign(market_.size(), 0);
}

void Generator::open() {
  pending_.push_back({Step::kOpen, 0, {}});
  pending_.push_back({Step::kSubscribe, 0, {}});
  pending_.push_back({Step::kHello, 0, {}});
  for (const auto& acknowledge : acknowledge_) pending_.push_back(acknowledge);
  for (const std::size_t i : streams_[static_cast<std::size_t>(Channel::kBooks)]) pending_.push_back({Step::kSnapshot, i, {}});
  if (!streams_[static_cast<std::size_t>(Channel::kOptions)].empty()) pending_.push_back({Step::kOption, 0, {}});
}

void Generator::reopen(std::string reason) {
  pending_.clear();
  holding_ = repeat_ = false;
  swallow_ = 0;
  pending_.push_back({Step::kClose, 0, std::move(reason)});
  open();
}

void Generator::carry_out(const Command& command) {
  if (command.kind == Command::Kind::kReconnect) return reopen(command.text);
  if (command.kind != Command::Kind::kSend) return;
  // {"op":"snapshot","sym":"AAPL"}: anything else is answered by silence, as a venue would with what it does not know.
  constexpr std::string_view kOperation = "{\"op\":\"snapshot\",";
  if (!command.text.starts_with(kOperation)) return;
  const auto symbol = std::string_view(command.text).substr(kOperation.size());
  for (const std::size_t i : streams_[static_cast<std::size_t>(Channel::kBooks)]) {
    if (symbol == quoted_[i] + "}") pending_.push_back({Step::kSnapshot, i, command.text});
  }
}

Fault Generator::choose_fault() {
  if (planned_ < settings_.planned.size() && settings_.planned[planned_].frame <= messages_) return settings_.planned[planned_++].fault;
  for (std::size_t f = 1; f < kFaults; ++f) {
    if (settings_.fault_chance[f] > 0 && faults_.chance(settings_.fault_chance[f])) return static_cast<Fault>(f);
  }
  return Fault::kNone;
}

bool Generator::next(Frame& frame, Timestamp now, bool virtual_time) {
  const auto finish = [&](std::string_view bytes) {
    frame.bytes = bytes;
    const std::int64_t received = virtual_time ? virtual_ns_ + kLatencyNs : now.ns;
    receive_ns_ = std::max(receive_ns_, received);
    frame.receive_time = {receive_ns_};
    return true;
  };
  frame = Frame{};
  if (repeat_) {
    repeat_ = false;
    return finish(text_.view());
  }
  if (holding_) {
    holding_ = false;
    return finish(held_.view());
  }
  for (;;) {
    if (virtual_time) now = Timestamp{virtual_ns_};
    if (settings_.frames != 0 && messages_ >= settings_.frames && swallow_ == 0) return false;
    const bool message = write_next(frame, now);
    if (!message) return finish(frame.bytes);
    if (virtual_time) virtual_ns_ += interval_ns_;
    const Fault fault = choose_fault();
    ++messages_;
    if (swallow_ > 0) {
      --swallow_;
      continue;
    }
    switch (fault) {
      case Fault::kNone: break;
      case Fault::kGap: swallow_ = settings_.gap_frames - 1; continue;
      case Fault::kDuplicate: repeat_ = true; break;
      case Fault::kReorder: {
        held_.clear();
        held_.text(text_.view());
        Frame other;
        if (!pending_.empty() && pending_.front().step < Step::kHello) break;  // the connection ends here: nothing to swap with
        if (virtual_time) now = Timestamp{virtual_ns_};
        write_next(other, now);
        if (virtual_time) virtual_ns_ += interval_ns_;
        ++messages_;
        holding_ = true;
        break;
      }
      case Fault::kStall:
        if (virtual_time) virtual_ns_ += settings_.stall_ns;
        else stall_ns_ += settings_.stall_ns;
        break;
      case Fault::kMalformed: mangle(); break;
      case Fault::kCorrupt: corrupt_ = true; break;  // shows in the next change of a book
      case Fault::kDisconnect: reopen("the sim dropped the connection"); break;
    }
    return finish(text_.view());
  }
}

// True for a message of the venue, in text_; false for open, close and sent, in the frame.
bool Generator::write_next(Frame& frame, Timestamp now) {
  if (!pending_.empty()) {
    if (pending_.front().step < Step::kHello) {
      write_pending(frame, now);
      return false;
    }
    const Pending step = std::move(pending_.front());
    pending_.pop_front();
    switch (step.step) {
      case Step::kHello:
        text_.clear();
        text_.text("{\"n\":").integer(static_cast<std::int64_t>(number_++)).text(",\"ch\":\"hello\",\"protocol\":1}");
        break;
      case Step::kAcknowledge:
        text_.clear();
        text_.text("{\"n\":").integer(static_cast<std::int64_t>(number_++)).text(",").text(step.text);
        break;
      case Step::kSnapshot:
        begin(Channel::kBooks, now);
        write_book(step.index, true);
        break;
      default:
        if (market_.options().empty()) market_.open_chain(now);
        begin(Channel::kOptions, now);
        write_option(step.index, now);
        if (step.index + 1 < market_.options().size()) pending_.push_front({Step::kOption, step.index + 1, {}});
    }
    return true;
  }
  const double at = market_.random().unit();
  std::size_t c = 0;
  while (c + 1 < kChannels && (at >= thresholds_[c] || streams_[c].empty())) ++c;
  const auto channel = static_cast<Channel>(c);
  const std::size_t i = streams_[c].size() <= 1 ? streams_[c][0] : streams_[c][market_.random().below(streams_[c].size())];
  if (per_symbol(channel)) market_.step(i);
  begin(channel, now);
  switch (channel) {
    case Channel::kQuotes: write_quote(i); break;
    case Channel::kTrades: write_trade(i); break;
    case Channel::kBooks: write_book(i, false); break;
    case Channel::kOptions:
      if (market_.options().empty()) market_.open_chain(now);
      else if (option_ == 0) market_.roll_chain(now);
      write_option(option_, now);
      option_ = (option_ + 1) % market_.options().size();
      break;
    case Channel::kNews: write_news(); break;
    case Channel::kCalendar: write_calendar(now); break;
    case Channel::kHeartbeat: text_.resize(text_.view().size() - 1); text_.text("}"); break;
  }
  return true;
}

void Generator::write_pending(Frame& frame, Timestamp) {
  held_.clear();
  switch (pending_.front().step) {
    case Step::kClose:
      frame.kind = FrameKind::kClose;
      held_.text(pending_.front().text);
      break;
    case Step::kOpen:
      frame.kind = FrameKind::kOpen;
      held_.text(kAddress);
      number_ = 0;
      break;
    default:
      frame.kind = FrameKind::kSent;
      held_.text(subscribe_);
  }
  frame.bytes = held_.view();
  pending_.pop_front();
}

void Generator::begin(Channel channel, Timestamp now) {
  static constexpr std::string_view kHeads[kChannels] = {",\"ch\":\"quote\",\"ts\":", ",\"ch\":\"trade\",\"ts\":", ",\"ch\":\"book\",\"ts\":",
                                                         ",\"ch\":\"option\",\"ts\":", ",\"ch\":\"news\",\"ts\":", ",\"ch\":\"calendar\",\"ts\":",
                                                         ",\"ch\":\"heartbeat\",\"ts\":"};
  text_.clear();
  text_.text("{\"n\":").integer(static_cast<std::int64_t>(number_++)).text(kHeads[static_cast<std::size_t>(channel)]).integer(now.ns).text(",");
}

void Generator::write_quote(std::size_t i) {
  const Instrument& made = market_.instruments()[i];
  text_.text(quoted_[i]).text(",\"bid\":").fixed(market_.best_bid(i), kPriceDigits);
  if (made.kind != InstrumentKind::kIndex) text_.text(",\"bid_size\":").fixed(market_.size_near(i), made.size_digits);
  text_.text(",\"ask\":").fixed(market_.best_ask(i), kPriceDigits);
  if (made.kind != InstrumentKind::kIndex) text_.text(",\"ask_size\":").fixed(market_.size_near(i), made.size_digits);
  text_.text("}");
}

void Generator::write_trade(std::size_t i) {
  const Instrument& made = market_.instruments()[i];
  const bool buy = (market_.random().next() & 1) != 0;
  text_.text(quoted_[i]).text(",\"id\":").integer(static_cast<std::int64_t>(++trade_id_[i]));
  text_.text(",\"price\":").fixed(buy ? market_.best_ask(i) : market_.best_bid(i), kPriceDigits);
  text_.text(",\"size\":").fixed(market_.size_near(i), made.size_digits).text(buy ? ",\"side\":\"buy\"}" : ",\"side\":\"sell\"}");
}

void Generator::write_side(std::string_view name, const std::vector<Level>& levels, std::size_t i) {
  text_.text(name);
  const int digits = market_.instruments()[i].size_digits;
  bool first = true;
  for (const Level& level : levels) {
    text_.text(first ? "[" : ",[").fixed(level.price, kPriceDigits).text(",").fixed(level.size, digits).text("]");
    first = false;
  }
  text_.text("]");
}

void Generator::write_book(std::size_t i, bool snapshot) {
  const Book& book = market_.book(i);
  text_.text(quoted_[i]);
  if (snapshot) {
    text_.text(",\"kind\":\"snapshot\",\"rev\":").integer(static_cast<std::int64_t>(book.revision));
    text_.text(",\"price_digits\":").integer(kPriceDigits).text(",\"size_digits\":").integer(market_.instruments()[i].size_digits);
    write_side(",\"bids\":[", book.bids, i);
    write_side(",\"asks\":[", book.asks, i);
  } else {
    const BookChanges& changes = market_.update_book(i);
    text_.text(",\"kind\":\"update\",\"rev\":").integer(static_cast<std::int64_t>(book.revision));
    write_side(",\"bids\":[", changes.bids, i);
    write_side(",\"asks\":[", changes.asks, i);
  }
  char hash[16];
  write_hex64(hash, book_hash(book.bids, book.asks));
  text_.text(",\"hash\":\"").text({hash, sizeof hash}).text("\"}");
  if (corrupt_ && !snapshot) corrupt();
}

void Generator::write_option(std::size_t o, Timestamp now) {
  const OptionValues v = market_.value(o, now);
  const Option& option = market_.options()[o];
  text_.text("\"sym\":\"").text(option.symbol).text("\",\"und\":\"SPX\",\"exp\":\"").text(market_.expiry_date(option)).text("\",\"k\":");
  text_.integer(option.strike).text(option.call ? ",\"right\":\"C\",\"mult\":100,\"bid\":" : ",\"right\":\"P\",\"mult\":100,\"bid\":");
  text_.number(v.bid, 2).text(",\"ask\":").number(v.ask, 2).text(",\"last\":").number(v.last, 2).text(",\"mark\":").number(v.mark, 4);
  text_.text(",\"vol\":").integer(option.volume).text(",\"oi\":").integer(option.open_interest).text(",\"iv\":").number(v.iv, 6);
  text_.text(",\"delta\":").number(v.delta, 6).text(",\"gamma\":").number(v.gamma, 8).text(",\"theta\":").number(v.theta, 4);
  text_.text(",\"vega\":").number(v.vega, 4).text(",\"rho\":").number(v.rho, 4).text(",\"spot\":").number(v.spot, 3).text("}");
}

void Generator::write_news() {
  const auto& headline = kHeadlines[market_.random().below(std::size(kHeadlines))];
  const std::size_t i = market_.random().below(market_.size());
  const std::string& symbol = market_.instruments()[i].symbol;
  const std::size_t at = headline.pattern.find("{}");
  text_.text("\"headline\":\"").text(headline.pattern.substr(0, at)).text(symbol).text(headline.pattern.substr(at + 2));
  text_.text("\",\"source\":\"Sim Newswire\",\"tickers\":[\"").text(symbol).text("\"");
  if (market_.random().below(4) == 0) {
    const std::size_t other = (i + 1) % market_.size();
    if (other != i) text_.text(",\"").text(market_.instruments()[other].symbol).text("\"");
  }
  text_.text("],\"sentiment\":").fixed(headline.sentiment, 2).text(",\"url\":\"https://news.example/").integer(static_cast<std::int64_t>(number_));
  text_.text("\"}");
}

// First the forecast, a minute ahead; the released value at the hour named.
void Generator::write_calendar(Timestamp now) {
  constexpr std::int64_t kMinute = 60'000'000'000;
  const auto& release = kReleases[release_ % std::size(kReleases)];
  const bool released = release_at_ns_ != 0 && now.ns >= release_at_ns_;
  if (release_at_ns_ == 0) release_at_ns_ = (now.ns / kMinute + 1) * kMinute;
  text_.text("\"at\":").integer(release_at_ns_).text(",\"event\":\"").text(release.name).text("\",\"country\":\"").text(release.country).text("\"");
  if (release.importance != "holiday") {
    if (released) {
      text_.text(",\"actual\":\"").fixed(release.forecast + static_cast<std::int64_t>(market_.random().below(5)) - 2, 1).text(release.unit).text("\"");
    }
    text_.text(",\"forecast\":\"").fixed(release.forecast, 1).text(release.unit).text("\"");
    text_.text(",\"previous\":\"").fixed(release.previous, 1).text(release.unit).text("\"");
  }
  if (!release.unit.empty()) text_.text(",\"unit\":\"").text(release.unit).text("\"");
  text_.text(",\"importance\":\"").text(release.importance).text("\"}");
  if (released || release.importance == "holiday") {
    ++release_;
    release_at_ns_ = 0;
  }
}

// What a message may turn into on a bad line or with a bad sender. Its number is spent.
void Generator::mangle() {
  switch (faults_.below(4)) {
    case 0: text_.resize(text_.view().size() / 2); break;
    case 1: {
      const std::size_t size = text_.view().size();
      for (std::size_t i = size / 3; i < size / 3 + 4 && i < size; ++i) text_.data()[i] = static_cast<char>(0x80 + faults_.below(0x80));
      break;
    }
    case 2:
      text_.clear();
      text_.text("{\"n\":").integer(static_cast<std::int64_t>(number_ - 1)).text(",\"ch\":\"trade\",\"ts\":\"yesterday\",\"sym\":[],\"price\":\"abc\"}");
      break;
    default:
      text_.clear();
      text_.text("{\"n\":").integer(static_cast<std::int64_t>(number_ - 1)).text(",\"ch\":\"warp\",\"ts\":").integer(virtual_ns_).text("}");
  }
}

// The hash comes out wrong, as if a level had changed on the way.
void Generator::corrupt() {
  char& digit = text_.data()[text_.view().size() - 3];
  digit = digit == '7' ? '8' : '7';
  corrupt_ = false;
}

}  // namespace utp::sim
