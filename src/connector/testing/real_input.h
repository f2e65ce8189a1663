// For tests on real recordings: what a mapper makes of one, counted in the words of tests/independent_count.py, so that the
// two can be compared line by line.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "connector/capture.h"
#include "connector/mapper.h"
#include "core/hash.h"
#include "schema/registry.h"

namespace utp {

class RealInputTally final : public MapperOutput {
 public:
  explicit RealInputTally(std::vector<std::shared_ptr<const Plan>> plans) : plans_(std::move(plans)) {}

  std::uint64_t rejects = 0;
  std::uint64_t gaps = 0;
  std::uint64_t commands = 0;
  std::uint64_t events = 0;
  std::uint64_t digest = 0;  // of all events in order: the same frames must give the same
  std::size_t largest_payload = 0;
  std::string first_reject;

  bool emit(std::uint32_t route, const EventHeader& header, const Row& row) override {
    const Plan& plan = *plans_.at(route);
    Violation violation;
    EXPECT_TRUE(plan.validate(row, violation)) << plan.event_type() << violation.path << ": " << violation.message;
    payload_.clear();
    plan.write(row, payload_);
    largest_payload = std::max(largest_payload, payload_.size());
    payload_ += std::string(header.symbol) + header.event_time.to_string() + std::to_string(header.sequence.value_or(0));
    digest = hash64(std::to_string(digest) + payload_);
    ++events;
    const std::string symbol(header.symbol);
    if (plan.event_type() == "trades/v2") {
      if (header.sequence) trade_ids_[symbol].insert(*header.sequence);
      else ++trades_without_id_[symbol];
    } else if (plan.event_type() == "quotes/v2") {
      ++quotes_[symbol];
    } else {
      book(plan, symbol, row);
    }
    return true;
  }
  void command(Command) override { ++commands; }
  void reject(std::string_view code, std::string_view path, std::string_view message) override {
    if (rejects++ == 0) first_reject = std::string(code) + " " + std::string(path) + " " + std::string(message);
  }
  void gap(std::string_view, std::string_view, std::string_view, std::uint64_t) override { ++gaps; }
  void alive(std::uint32_t, std::string_view, std::string_view) override {}

  std::vector<std::string> lines() const {
    std::vector<std::string> out;
    for (const auto& [symbol, ids] : trade_ids_) {
      for (const auto id : ids) out.push_back("trade " + symbol + " " + std::to_string(id));
      out.push_back("trades " + symbol + " " + std::to_string(ids.size()));
    }
    for (const auto& [symbol, n] : trades_without_id_) out.push_back("trades " + symbol + " " + std::to_string(n));
    for (const auto& [symbol, n] : quotes_) out.push_back("quotes " + symbol + " " + std::to_string(n));
    for (const auto& [symbol, book] : books_) {
      out.push_back("book_events " + symbol + " " + std::to_string(book.events));
      if (book.changes != 0) out.push_back("book_changes " + symbol + " " + std::to_string(book.changes));
      if (!book.bids.empty()) {
        out.push_back("top " + symbol + " bid " + book.bids.rbegin()->first.to_string() + " " + book.bids.rbegin()->second.to_string());
      }
      if (!book.asks.empty()) {
        out.push_back("top " + symbol + " ask " + book.asks.begin()->first.to_string() + " " + book.asks.begin()->second.to_string());
      }
      out.push_back("levels " + symbol + " " + std::to_string(book.bids.size()) + " " + std::to_string(book.asks.size()));
    }
    out.push_back("checksums_failed " + std::to_string(gaps));
    std::sort(out.begin(), out.end());
    return out;
  }

 private:
  struct Book {
    std::string id;
    std::int64_t sequence = -1, part = 0, parts = 1;
    std::uint64_t events = 0, changes = 0;
    std::map<Decimal, Decimal> bids, asks;
  };

  // What a careful reader of the events does.
  void book(const Plan& plan, const std::string& symbol, const Row& row) {
    const auto value = [&](const char* name) { return row[*plan.column(name)]; };
    Book& book = books_[symbol];
    const std::string id(value("book_id").as_text());
    const bool snapshot = value("kind").as_text() == "snapshot";
    const std::int64_t sequence = value("book_seq").as_integer(), part = value("part").as_integer();
    const std::int64_t parts = value("parts").as_integer();
    if (part == 0) {
      ++book.events;
      EXPECT_EQ(book.part + 1, book.parts) << "a part is missing";
      if (snapshot) {
        EXPECT_TRUE(ids_.insert(symbol + id).second) << "book_id " << id << " twice";
        EXPECT_EQ(sequence, 0);
        book.bids.clear();
        book.asks.clear();
      } else {
        EXPECT_EQ(id, book.id);
        EXPECT_EQ(sequence, book.sequence + 1);
      }
    } else {
      EXPECT_EQ(id, book.id);
      EXPECT_EQ(part, book.part + 1);
      EXPECT_EQ(parts, book.parts);
      EXPECT_EQ(sequence, book.sequence);
    }
    book.id = id;
    book.sequence = sequence;
    book.part = part;
    book.parts = parts;
    const auto apply = [&](const char* name, std::map<Decimal, Decimal>& side) {
      const auto elements = row.elements(*plan.column(name), 2);
      for (std::size_t i = 0; i + 1 < elements.size(); i += 2) {
        if (!snapshot) ++book.changes;
        if (elements[i + 1].as_decimal().is_zero()) side.erase(elements[i].as_decimal());
        else side[elements[i].as_decimal()] = elements[i + 1].as_decimal();
      }
    };
    apply("bids", book.bids);
    apply("asks", book.asks);
    const Value depth = value("depth");
    if (depth.present()) {
      const auto most = static_cast<std::size_t>(depth.as_integer());
      while (book.bids.size() > most) book.bids.erase(book.bids.begin());
      while (book.asks.size() > most) book.asks.erase(std::prev(book.asks.end()));
    }
  }

  std::vector<std::shared_ptr<const Plan>> plans_;
  std::string payload_;
  std::map<std::string, std::set<std::uint64_t>> trade_ids_;
  std::map<std::string, std::uint64_t> trades_without_id_, quotes_;
  std::map<std::string, Book> books_;
  std::set<std::string> ids_;
};

inline std::vector<std::shared_ptr<const Plan>> market_plans() {
  const auto registry = Registry::builtin();
  EXPECT_TRUE(registry) << registry.error().message;
  return {registry->by_event_type("quotes/v2"), registry->by_event_type("trades/v2"), registry->by_event_type("orderbook/v1")};
}

// Runs every frame of a capture through a new mapper.
inline void run_capture(const std::string& path, const MapperFactory& factory, const std::string& separator, MapperOutput& output) {
  MapperContext context;
  context.plans = market_plans();
  context.symbols.set_separator(separator);
  auto mapper = factory(std::move(context));
  ASSERT_TRUE(mapper) << mapper.error().message;
  auto reader = open_capture(path);
  ASSERT_TRUE(reader) << reader.error().message;
  for (Frame frame;;) {
    const auto more = (*reader)->next(frame);
    ASSERT_TRUE(more) << more.error().message;
    if (!*more) break;
    (*mapper)->on_frame(frame, output);
  }
}

// The independent script's lines; empty when it cannot run.
inline std::vector<std::string> independent_lines(const std::string& script, const std::string& connector, const std::string& path) {
  std::vector<std::string> lines;
  std::FILE* const pipe = popen(("python3 '" + script + "' " + connector + " '" + path + "' --flat").c_str(), "r");
  if (!pipe) return lines;
  std::string line;
  for (int c; (c = std::fgetc(pipe)) != EOF;) {
    if (c == '\n') lines.push_back(std::exchange(line, {}));
    else line += static_cast<char>(c);
  }
  if (pclose(pipe) != 0) lines.clear();
  return lines;
}

}  // namespace utp
