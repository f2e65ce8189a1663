// Writes the sim's messages without allocation: a buffer that only grows.
#pragma once

#include <charconv>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>

namespace utp::sim {

class WireText {
 public:
  WireText() { reserve(4096); }

  void clear() { size_ = 0; }
  std::string_view view() const { return {bytes_.get(), size_}; }
  char* data() { return bytes_.get(); }
  void resize(std::size_t size) { size_ = size; }  // shorter only

  WireText& text(std::string_view piece) {
    reserve(size_ + piece.size());
    std::memcpy(bytes_.get() + size_, piece.data(), piece.size());
    size_ += piece.size();
    return *this;
  }
  WireText& integer(std::int64_t value) {
    reserve(size_ + 20);
    size_ = static_cast<std::size_t>(std::to_chars(bytes_.get() + size_, bytes_.get() + capacity_, value).ptr - bytes_.get());
    return *this;
  }
  // `value` in units of the last of `digits` decimals: fixed(18712, 2) is 187.12.
  WireText& fixed(std::int64_t value, int digits) {
    if (digits == 0) return integer(value);
    if (value < 0) {
      text("-");
      value = -value;
    }
    std::int64_t unit = 1;
    for (int i = 0; i < digits; ++i) unit *= 10;
    integer(value / unit);
    reserve(size_ + 20);
    char* out = bytes_.get() + size_;
    *out = '.';
    std::int64_t fraction = value % unit;
    for (int i = digits; i > 0; --i) {
      out[i] = static_cast<char>('0' + fraction % 10);
      fraction /= 10;
    }
    size_ += static_cast<std::size_t>(digits) + 1;
    return *this;
  }
  WireText& number(double value, int digits);  // rounded

 private:
  void reserve(std::size_t size) {
    if (size <= capacity_) return;
    const std::size_t capacity = size * 2;
    std::unique_ptr<char[]> larger(new char[capacity]);
    if (size_ > 0) std::memcpy(larger.get(), bytes_.get(), size_);
    bytes_ = std::move(larger);
    capacity_ = capacity;
  }

  std::unique_ptr<char[]> bytes_;
  std::size_t size_ = 0, capacity_ = 0;
};

}  // namespace utp::sim
