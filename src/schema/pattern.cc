// ECMA-262 regular expressions (u flag), read by their grammar and written again in RE2's syntax.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <utility>
#include <vector>

#include <re2/re2.h>
#include <simdjson.h>

#include "schema/formats.h"

namespace utp {
namespace {

constexpr std::uint32_t kCodePointMax = 0x10FFFF;
constexpr int kNestingMax = 100;
constexpr std::int64_t kRepetitionMax = 1000;  // RE2's own limit

using Range = std::pair<std::uint32_t, std::uint32_t>;
using Ranges = std::vector<Range>;

Ranges merged(Ranges ranges) {
  std::sort(ranges.begin(), ranges.end());
  Ranges out;
  for (const Range& range : ranges) {
    if (!out.empty() && range.first <= out.back().second + 1) {
      out.back().second = std::max(out.back().second, range.second);
    } else {
      out.push_back(range);
    }
  }
  return out;
}

Ranges complement(const Ranges& ranges) {
  Ranges out;
  std::uint32_t next = 0;
  for (const Range& range : merged(ranges)) {
    if (range.first > next) out.emplace_back(next, range.first - 1);
    next = range.second + 1;
  }
  if (next <= kCodePointMax) out.emplace_back(next, kCodePointMax);
  return out;
}

Ranges class_of(char letter) {
  switch (letter) {
    case 'd': return {{'0', '9'}};
    case 'w': return {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
    case 's':
      return {{0x09, 0x0D},     {0x20, 0x20},     {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
              {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
    default: return complement(class_of(static_cast<char>(letter - 'A' + 'a')));
  }
}

void append_code_point(std::string& out, std::uint32_t code_point) {
  std::array<char, 16> text;
  const int size = std::snprintf(text.data(), text.size(), "\\x{%x}", code_point);
  out.append(text.data(), static_cast<std::size_t>(size));
}

void append_class(std::string& out, const Ranges& ranges) {
  const Ranges all = merged(ranges);
  if (all.empty()) {
    out += "[^\\x{0}-\\x{10ffff}]";
    return;
  }
  out.push_back('[');
  for (const Range& range : all) {
    append_code_point(out, range.first);
    if (range.second != range.first) {
      out.push_back('-');
      append_code_point(out, range.second);
    }
  }
  out.push_back(']');
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) {
    for (std::size_t i = 0; i < pattern.size();) {
      const auto lead = static_cast<unsigned char>(pattern[i]);
      const std::size_t size = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
      std::uint32_t code_point = size == 1 ? lead : lead & (0xFFu >> (size + 1));
      for (std::size_t j = 1; j < size; ++j) {
        code_point = code_point << 6 | (static_cast<unsigned char>(pattern[i + j]) & 0x3Fu);
      }
      text_.push_back(code_point);
      i += size;
    }
  }

  bool run(std::string& out, std::string& error) {
    if (alternatives(out, 0) && at_ != text_.size()) refuse("a ) without its (");
    error = error_;
    return error.empty();
  }

 private:
  bool refuse(const std::string& what) {
    if (error_.empty()) error_ = what + " at character " + std::to_string(at_ + 1);
    return false;
  }
  bool done() const { return at_ >= text_.size(); }
  std::uint32_t peek(std::size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : UINT32_MAX; }
  bool take(std::uint32_t code_point) {
    if (peek() != code_point) return false;
    ++at_;
    return true;
  }

  bool alternatives(std::string& out, int depth) {
    if (depth > kNestingMax) return refuse("groups nested deeper than " + std::to_string(kNestingMax));
    for (;;) {
      while (!done() && peek() != '|' && peek() != ')') {
        if (!term(out, depth)) return false;
      }
      if (!take('|')) return true;
      out.push_back('|');
    }
  }

  bool term(std::string& out, int depth) {
    if (take('^')) {
      out += "\\A";
      return not_repeated();
    }
    if (take('$')) {
      out += "\\z";
      return not_repeated();
    }
    if (peek() == '\\' && (peek(1) == 'b' || peek(1) == 'B')) {
      out += peek(1) == 'b' ? "\\b" : "\\B";
      at_ += 2;
      return not_repeated();
    }
    std::string atom;
    if (!read_atom(atom, depth)) return false;
    out += atom;
    return quantifier(out);
  }

  bool not_repeated() {
    const std::uint32_t c = peek();
    if (c == '*' || c == '+' || c == '?' || c == '{') return refuse("a repetition of an assertion");
    return true;
  }

  bool read_atom(std::string& out, int depth) {
    const std::uint32_t c = peek();
    switch (c) {
      case '(': return group(out, depth);
      case '[': return bracket(out);
      case '.':
        ++at_;
        append_class(out, complement({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}));
        return true;
      case '\\': {
        Ranges ranges;
        if (!escape(ranges, false)) return false;
        append_class(out, ranges);
        return true;
      }
      case '*':
      case '+':
      case '?': return refuse("a repetition of nothing");
      case '{':
      case '}':
      case ']': return refuse("a bare bracket or brace (write it with a backslash)");
      default:
        ++at_;
        append_code_point(out, c);
        return true;
    }
  }

  bool group(std::string& out, int depth) {
    ++at_;
    if (take('?')) {
      if (peek() == '=' || peek() == '!') return refuse("a lookahead, which has no linear-time match");
      if (take('<')) {
        if (peek() == '=' || peek() == '!') return refuse("a lookbehind, which has no linear-time match");
        std::size_t length = 0;
        for (; !done() && peek() != '>'; ++at_, ++length) {
          const std::uint32_t c = peek();
          const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$';
          if (!letter && (length == 0 || c < '0' || c > '9')) return refuse("a character that no group name has");
        }
        if (length == 0 || !take('>')) return refuse("an unfinished group name");
      } else if (!take(':')) {
        return refuse("an unknown kind of group");
      }
    }
    out += "(?:";
    if (!alternatives(out, depth + 1)) return false;
    if (!take(')')) return refuse("a ( without its )");
    out.push_back(')');
    return true;
  }

  bool number(std::int64_t& value) {
    if (peek() < '0' || peek() > '9') return false;
    value = 0;
    while (peek() >= '0' && peek() <= '9') {
      value = std::min<std::int64_t>(value * 10 + (peek() - '0'), 1'000'000);
      ++at_;
    }
    return true;
  }

  bool quantifier(std::string& out) {
    const std::uint32_t c = peek();
    if (c == '*' || c == '+' || c == '?') {
      ++at_;
      out.push_back(static_cast<char>(c));
    } else if (c == '{') {
      ++at_;
      std::int64_t low = 0;
      std::int64_t high = 0;
      if (!number(low)) return refuse("a brace that is no repetition (write it with a backslash)");
      out += "{" + std::to_string(low);
      high = low;
      if (take(',')) {
        out.push_back(',');
        if (number(high)) {
          out += std::to_string(high);
        } else {
          high = low;
        }
      }
      if (!take('}')) return refuse("a brace that is no repetition (write it with a backslash)");
      if (high < low) return refuse("a repetition whose bounds are out of order");
      if (high > kRepetitionMax) return refuse("a repetition above " + std::to_string(kRepetitionMax));
      out.push_back('}');
    } else {
      return true;
    }
    take('?');  // lazy or not, a search finds the same
    const std::uint32_t after = peek();
    if (after == '*' || after == '+' || after == '?' || after == '{') return refuse("a repetition of a repetition");
    return true;
  }

  bool hexadecimal(int count, std::uint32_t& value) {
    value = 0;
    for (int i = 0; i < count; ++i, ++at_) {
      const std::uint32_t c = peek();
      std::uint32_t digit = 0;
      if (c >= '0' && c <= '9') {
        digit = c - '0';
      } else if (c >= 'a' && c <= 'f') {
        digit = c - 'a' + 10;
      } else if (c >= 'A' && c <= 'F') {
        digit = c - 'A' + 10;
      } else {
        return refuse("an unfinished hexadecimal escape");
      }
      value = value << 4 | digit;
    }
    return true;
  }

  bool unicode_escape(std::uint32_t& value) {  // behind \u
    if (take('{')) {
      value = 0;
      int count = 0;
      while (peek() != '}') {
        std::uint32_t digit = 0;
        if (!hexadecimal(1, digit)) return false;
        value = value << 4 | digit;
        if (value > kCodePointMax) return refuse("a code point above 10FFFF");
        ++count;
      }
      ++at_;
      return count > 0 || refuse("an empty code point");
    }
    if (!hexadecimal(4, value)) return false;
    if (value >= 0xD800 && value < 0xDC00 && peek() == '\\' && peek(1) == 'u') {
      at_ += 2;
      std::uint32_t low = 0;
      if (!hexadecimal(4, low)) return false;
      if (low < 0xDC00 || low > 0xDFFF) return refuse("half of a surrogate pair");
      value = 0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00);
    }
    return true;
  }

  // One escape, as the set of what it matches; inside a class `-` may be escaped and \b is a backspace.
  bool escape(Ranges& out, bool in_class) {
    ++at_;
    if (done()) return refuse("a backslash at the end");
    const std::uint32_t c = peek();
    if (c == 'd' || c == 'D' || c == 'w' || c == 'W' || c == 's' || c == 'S') {
      ++at_;
      out = class_of(static_cast<char>(c));
      return true;
    }
    std::uint32_t value = 0;
    constexpr std::string_view kSyntax = "^$\\.*+?()[]{}|/";
    if (c < 0x80 && (kSyntax.find(static_cast<char>(c)) != std::string_view::npos || (in_class && c == '-'))) {
      ++at_;
      value = c;
    } else {
      switch (c) {
        case 't': ++at_; value = '\t'; break;
        case 'n': ++at_; value = '\n'; break;
        case 'v': ++at_; value = '\v'; break;
        case 'f': ++at_; value = '\f'; break;
        case 'r': ++at_; value = '\r'; break;
        case 'b':
          if (!in_class) return refuse("an unknown escape");
          ++at_;
          value = '\b';
          break;
        case '0':
          ++at_;
          if (peek() >= '0' && peek() <= '9') return refuse("an octal escape");
          value = 0;
          break;
        case 'c': {
          ++at_;
          const std::uint32_t letter = peek() & ~0x20u;
          if (letter < 'A' || letter > 'Z') return refuse("a control escape without its letter");
          ++at_;
          value = letter & 0x1F;
          break;
        }
        case 'x':
          ++at_;
          if (!hexadecimal(2, value)) return false;
          break;
        case 'u':
          ++at_;
          if (!unicode_escape(value)) return false;
          break;
        case 'p':
        case 'P': return refuse("a Unicode property, whose tables differ between engines");
        case 'k': return refuse("a back reference, which has no linear-time match");
        default:
          return refuse(c >= '1' && c <= '9' ? "a back reference, which has no linear-time match" : "an unknown escape");
      }
    }
    if (value >= 0xD800 && value <= 0xDFFF) return refuse("half of a surrogate pair");
    out = {{value, value}};
    return true;
  }

  bool class_member(Ranges& out) {
    if (peek() == '\\') return escape(out, true);
    out = {{peek(), peek()}};
    ++at_;
    return true;
  }

  bool bracket(std::string& out) {
    ++at_;
    const bool negated = take('^');
    Ranges all;
    while (!done() && peek() != ']') {
      Ranges low;
      const bool low_is_class = peek() == '\\' && std::u32string_view(U"dDwWsS").find(peek(1)) != std::u32string_view::npos;
      if (!class_member(low)) return false;
      if (peek() == '-' && peek(1) != ']' && peek(1) != UINT32_MAX) {
        ++at_;
        const bool high_is_class =
            peek() == '\\' && std::u32string_view(U"dDwWsS").find(peek(1)) != std::u32string_view::npos;
        Ranges high;
        if (!class_member(high)) return false;
        if (low_is_class || high_is_class) return refuse("a range with a class as its end");
        if (high[0].first < low[0].first) return refuse("a range whose ends are out of order");
        all.emplace_back(low[0].first, high[0].first);
      } else {
        all.insert(all.end(), low.begin(), low.end());
      }
    }
    if (!take(']')) return refuse("a [ without its ]");
    append_class(out, negated ? complement(all) : all);
    return true;
  }

  std::vector<std::uint32_t> text_;
  std::size_t at_ = 0;
  std::string error_;
};

}  // namespace

Result<std::shared_ptr<const re2::RE2>> compile_pattern(std::string_view ecma) {
  if (!simdjson::validate_utf8(ecma)) return fail(Code::kInvalidArgument, "the pattern is no UTF-8");
  std::string translated;
  std::string error;
  if (!Translator(ecma).run(translated, error)) return fail(Code::kUnsupported, "found " + error);
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_never_capture(true);
  auto compiled = std::make_shared<const re2::RE2>(translated, options);
  if (!compiled->ok()) return fail(Code::kUnsupported, "it is too large: " + compiled->error());
  return compiled;
}

}  // namespace utp
