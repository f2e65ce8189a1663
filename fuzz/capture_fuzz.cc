// Captures: any bytes as a file in any format, plain or compressed. Readers must neither crash nor take memory beyond their
// limit, errors must be final, and what is read must come back the same from our own format.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "connector/capture.h"

namespace {

std::string memory_file(int descriptor) { return "/proc/self/fd/" + std::to_string(descriptor); }

[[noreturn]] void disagree(const char* what) {
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const int descriptor = ::memfd_create("input", 0);
  const int copy = ::memfd_create("copy", 0);
  if (descriptor < 0 || copy < 0 || ::write(descriptor, data, size) != static_cast<ssize_t>(size)) std::abort();
  auto reader = utp::open_capture(memory_file(descriptor));
  if (reader) {
    auto writer = utp::create_capture(memory_file(copy), {.connector = "fuzz", .zstd_level = size % 2 == 0 ? 1 : 0});
    if (!writer) disagree(writer.error().message.c_str());
    std::vector<std::string> frames;
    utp::Frame frame;
    std::size_t bytes = 0;
    for (;;) {
      const auto more = (*reader)->next(frame);
      if (!more && (*reader)->next(frame)) disagree("an error was not final");
      if (!more || !*more) break;
      bytes += frame.bytes.size() + 64;
      if (bytes > 32u << 20) break;  // a compression bomb: read on its own terms, not kept here
      if (frame.tag.size() > UINT16_MAX) continue;
      frames.emplace_back(frame.bytes);
      if (!(*writer)->write(frame)) disagree("a frame that was read cannot be written");
    }
    if (!(*writer)->close()) disagree("the copy cannot be closed");
    auto again = utp::open_capture(memory_file(copy));
    if (!again) disagree(again.error().message.c_str());
    for (const std::string& want : frames) {
      const auto more = (*again)->next(frame);
      if (!more || !*more || frame.bytes != want) disagree("the copy differs");
    }
    const auto end = (*again)->next(frame);
    if (!end || *end) disagree("the copy does not end where it should");
  }
  ::close(descriptor);
  ::close(copy);
  return 0;
}
