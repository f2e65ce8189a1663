// Result<T>: a value or an Error. Everything that can go wrong with input, files, networks or servers returns one;
// a broken invariant asserts instead. Exceptions of libraries are turned into an Error at the edge that calls them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <tl/expected.hpp>

namespace utp {

// What a caller can do about a failure, not where it came from.
enum class Code : std::uint8_t {
  kInvalidArgument,  // the input is wrong: repair it
  kNotFound,
  kAlreadyExists,
  kUnsupported,      // the input is legal, this program does not do it
  kPermission,
  kIo,               // a file or socket failed
  kCorrupt,          // stored bytes are not what was written
  kFull,             // a disk or a named limit is full
  kUnavailable,      // a server or lock is not there now
  kTimeout,
  kFenced,           // another member took the lease
  kCancelled,        // the program is stopping
  kInternal,
};

std::string_view to_string(Code code);

struct Error {
  Code code = Code::kInternal;
  std::string message;     // names the place, what was found, and the cure
  bool retryable = false;  // the same call may succeed later with no change of input
};

template <class T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

[[nodiscard]] inline tl::unexpected<Error> fail(Code code, std::string message, bool retryable = false) {
  return tl::unexpected<Error>(Error{code, std::move(message), retryable});
}
[[nodiscard]] inline tl::unexpected<Error> fail(Error error) { return tl::unexpected<Error>(std::move(error)); }

}  // namespace utp

#define UTP_CONCAT_INNER(a, b) a##b
#define UTP_CONCAT(a, b) UTP_CONCAT_INNER(a, b)

// UTP_TRY(auto x, call()): x is the value, or the function returns the error.
#define UTP_TRY(declaration, expression) UTP_TRY_IMPL(UTP_CONCAT(utp_try_, __COUNTER__), declaration, expression)
#define UTP_TRY_IMPL(name, declaration, expression) \
  auto name = (expression);                         \
  if (!name) return ::utp::fail(std::move(name.error())); \
  declaration = std::move(*name)

// UTP_CHECK(call()): for a Status; returns the error if there is one.
#define UTP_CHECK(expression)                                                        \
  do {                                                                               \
    auto utp_check_status = (expression);                                            \
    if (!utp_check_status) return ::utp::fail(std::move(utp_check_status.error()));  \
  } while (false)
