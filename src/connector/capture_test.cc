#include "connector/capture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/random.h"

namespace utp {
namespace {

namespace fs = std::filesystem;

struct Kept {
  std::uint32_t connection;
  FrameKind kind;
  std::int64_t ns;
  std::string tag, bytes;
  friend bool operator==(const Kept&, const Kept&) = default;
};

std::ostream& operator<<(std::ostream& out, const Kept& k) {
  return out << k.connection << '/' << static_cast<int>(k.kind) << '/' << k.ns << '/' << k.tag << '/' << k.bytes.substr(0, 80);
}

Frame frame_of(const Kept& k) { return {k.connection, k.kind, {k.ns}, k.tag, k.bytes}; }

class Capture : public testing::Test {
 protected:
  Capture() {
    std::string name = (fs::temp_directory_path() / "utp_capture_XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  ~Capture() override { fs::remove_all(folder_); }

  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  std::string put(const std::string& name, const std::string& bytes) const {
    std::ofstream(path(name), std::ios::binary) << bytes;
    return path(name);
  }
  static std::string get(const std::string& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  // Frames up to the end or the first error.
  static std::vector<Kept> read_all(const std::string& file, Error* error = nullptr) {
    std::vector<Kept> frames;
    auto reader = open_capture(file);
    if (!reader) {
      if (error != nullptr) *error = reader.error();
      else ADD_FAILURE() << reader.error().message;
      return frames;
    }
    Frame f;
    for (;;) {
      auto more = (*reader)->next(f);
      if (!more) {
        if (error != nullptr) *error = more.error();
        else ADD_FAILURE() << more.error().message;
        auto again = (*reader)->next(f);
        EXPECT_FALSE(again) << "an error must be final";
        break;
      }
      if (!*more) break;
      frames.push_back({f.connection, f.kind, f.receive_time.ns, std::string(f.tag), std::string(f.bytes)});
    }
    return frames;
  }

  std::string write_all(const std::string& name, const std::vector<Kept>& frames, CaptureOptions options = {}) const {
    auto writer = create_capture(path(name), options);
    if (!writer) {
      ADD_FAILURE() << writer.error().message;
      return path(name);
    }
    for (const Kept& k : frames) {
      if (auto s = (*writer)->write(frame_of(k)); !s) ADD_FAILURE() << s.error().message;
    }
    if (auto s = (*writer)->close(); !s) ADD_FAILURE() << s.error().message;
    return path(name);
  }

  static std::vector<Kept> sample(std::size_t count, std::uint64_t seed) {
    Random random(seed);
    std::vector<Kept> frames;
    std::int64_t ns = 1'700'000'000'000'000'000;
    for (std::size_t i = 0; i < count; ++i) {
      ns += random.between(0, 10'000'000);
      Kept k{static_cast<std::uint32_t>(random.below(3)), static_cast<FrameKind>(random.below(5)), ns, {}, {}};
      if (k.kind == FrameKind::kHttp) k.tag = "depth?symbol=" + std::to_string(i);
      k.bytes.resize(random.below(400));
      for (char& c : k.bytes) c = static_cast<char>(random.below(256));
      frames.push_back(std::move(k));
    }
    return frames;
  }

  static std::string zstd(const std::string& bytes) {
    std::string out(ZSTD_compressBound(bytes.size()), '\0');
    out.resize(ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), 3));
    return out;
  }
  std::string gzip(const std::string& bytes) const {
    const std::string file = path("packed.gz");
    gzFile out = gzopen(file.c_str(), "wb");
    gzwrite(out, bytes.data(), static_cast<unsigned>(bytes.size()));
    gzclose(out);
    return get(file);
  }

  std::string folder_;
};

TEST_F(Capture, GivesBackEveryFrameAsWritten) {
  const auto frames = sample(2000, 1);
  EXPECT_EQ(read_all(write_all("a.utpcap", frames, {.connector = "coinbase"})), frames);
  EXPECT_EQ(read_all(write_all("b.utpcap", frames, {.zstd_level = 0})), frames);
  EXPECT_EQ((*open_capture(path("a.utpcap")))->connector(), "coinbase");
  EXPECT_EQ((*open_capture(path("b.utpcap")))->connector(), "");
  EXPECT_LT(fs::file_size(path("a.utpcap")), fs::file_size(path("b.utpcap")) + 1000);
}

TEST_F(Capture, TellsCompressionByContent) {
  const auto frames = sample(300, 2);
  const std::string plain = get(write_all("plain", frames, {.zstd_level = 0}));
  EXPECT_EQ(read_all(put("named.gz", plain)), frames);
  EXPECT_EQ(read_all(put("named.txt", zstd(plain))), frames);
  EXPECT_EQ(read_all(put("named.utpcap", gzip(plain))), frames);
  EXPECT_EQ(read_all(put("two", zstd(plain.substr(0, 5000)) + zstd(plain.substr(5000)))), frames);
  EXPECT_EQ(read_all(put("two_gz", gzip(plain.substr(0, 5000)) + gzip(plain.substr(5000)))), frames);
}

TEST_F(Capture, ReadsAllWholeRecordsOfATruncatedFileThenNamesTheOffset) {
  const auto frames = sample(10, 3);
  const std::string plain = get(write_all("plain", frames, {.zstd_level = 0}));
  for (std::size_t size = 1; size < plain.size(); ++size) {
    const std::string file = put("cut", plain.substr(0, size));
    Error error{Code::kInternal, ""};
    const auto got = read_all(file, &error);
    ASSERT_TRUE(std::equal(got.begin(), got.end(), frames.begin()));
    std::size_t whole = 10;  // the header line
    for (const Kept& k : got) whole += 28 + k.tag.size() + k.bytes.size();
    if (whole == size) {
      EXPECT_EQ(error.message, "") << size;
    } else if (size >= 10) {
      EXPECT_EQ(error.code, Code::kCorrupt);
      EXPECT_NE(error.message.find("at byte " + std::to_string(whole)), std::string::npos) << error.message;
    }
  }
}

TEST_F(Capture, DetectsEveryDamagedByte) {
  const auto frames = sample(4, 4);
  const std::string plain = get(write_all("plain", frames, {.zstd_level = 0}));
  for (std::size_t at = 10; at < plain.size(); ++at) {
    std::string bytes = plain;
    bytes[at] = static_cast<char>(bytes[at] ^ 0x10);
    Error error{Code::kInternal, ""};
    const auto got = read_all(put("damaged", bytes), &error);
    ASSERT_LT(got.size(), frames.size()) << at;
    ASSERT_TRUE(std::equal(got.begin(), got.end(), frames.begin())) << at;
    ASSERT_EQ(error.code, Code::kCorrupt);
  }
}

TEST_F(Capture, IsReadableUpToTheLastFlushWhenItWasNeverClosed) {
  const auto frames = sample(3000, 5);
  const std::string file = path("open.utpcap");
  auto writer = create_capture(file, {.flush_interval_ns = 1'000'000'000});
  ASSERT_TRUE(writer);
  for (const Kept& k : frames) ASSERT_TRUE((*writer)->write(frame_of(k)));
  const auto seen = read_all(file);
  ASSERT_GT(seen.size(), 100u);
  EXPECT_TRUE(std::equal(seen.begin(), seen.end(), frames.begin()));
  EXPECT_GT(seen.back().ns, frames.back().ns - 1'010'000'000);
  ASSERT_TRUE((*writer)->flush());
  EXPECT_EQ(read_all(file), frames);
}

TEST_F(Capture, AppendsBehindTheLastWholeRecordAfterACrash) {
  const auto frames = sample(500, 6);
  const std::vector<Kept> first(frames.begin(), frames.begin() + 300), second(frames.begin() + 300, frames.end());
  for (const int level : {0, 3}) {
    const std::string name = "grow" + std::to_string(level);
    CaptureOptions options{.connector = "sim", .zstd_level = level, .append = true};
    write_all(name, first, options);
    const std::string whole = get(path(name));
    put(name, whole + whole.substr(level == 0 ? 12 : 0, 20));  // a record that a crash cut
    write_all(name, second, options);
    EXPECT_EQ(read_all(path(name)), frames) << level;
  }
}

TEST_F(Capture, NeverOverwritesARecordingAndNeverCutsBehindDamage) {
  const auto frames = sample(50, 7);
  const std::string file = write_all("kept", frames, {.zstd_level = 0});
  EXPECT_EQ(create_capture(file, {}).error().code, Code::kAlreadyExists);
  EXPECT_EQ(create_capture(file, {.connector = "other", .zstd_level = 0, .append = true}).error().code, Code::kInvalidArgument);
  EXPECT_EQ(create_capture(file, {.zstd_level = 3, .append = true}).error().code, Code::kInvalidArgument);
  std::string bytes = get(file);
  bytes[200] ^= 1;
  put("kept", bytes);
  EXPECT_EQ(create_capture(file, {.zstd_level = 0, .append = true}).error().code, Code::kCorrupt);
  EXPECT_EQ(get(file), bytes);
}

TEST_F(Capture, StopsAtItsLimitWithAWholeFile) {
  const auto frames = sample(2000, 8);
  for (const int level : {0, 3}) {
    const std::string file = path("limit" + std::to_string(level));
    auto writer = create_capture(file, {.zstd_level = level, .bytes_max = 50'000});
    ASSERT_TRUE(writer);
    std::size_t taken = 0;
    Status status;
    for (const Kept& k : frames) {
      status = (*writer)->write(frame_of(k));
      if (!status) break;
      ++taken;
    }
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, Code::kFull);
    ASSERT_TRUE((*writer)->close());
    EXPECT_LE(fs::file_size(file), 50'000u);
    EXPECT_GT(fs::file_size(file), 40'000u);
    EXPECT_EQ(read_all(file).size(), taken);
  }
}

TEST_F(Capture, SaysWhyItCannotBeCreatedOrOpened) {
  EXPECT_EQ(create_capture(path("no/such/folder/x"), {}).error().code, Code::kIo);
  EXPECT_EQ(create_capture(path("x"), {.connector = "a b"}).error().code, Code::kInvalidArgument);
  EXPECT_EQ(open_capture(path("absent")).error().code, Code::kNotFound);
  EXPECT_EQ(open_capture(folder_).error().code, Code::kInvalidArgument);
}

TEST_F(Capture, NamesTheKnownFormatsWhenItKnowsNone) {
  for (const std::string& bytes : {std::string(), std::string("PK\3\4 zip"), std::string("hello world\n"), zstd(""), zstd("garbage"), gzip("x"),
                                   std::string("{\"a\":1}\n"), std::string("[1]\n"), std::string("{"), std::string("\n\n")}) {
    Error error{Code::kInternal, ""};
    read_all(put("unknown", bytes), &error);
    EXPECT_NE(error.message.find("unknown: "), std::string::npos) << error.message;
    EXPECT_TRUE(error.message.find("known are utpcap") != std::string::npos || error.message.find("a capture has") != std::string::npos ||
                error.message.find("cut short") != std::string::npos) << error.message;
  }
}

TEST_F(Capture, RefusesALengthBeyondTheLimitWithoutTakingMemoryForIt) {
  std::string record("UTPCAP1 -\n");
  record += std::string("\xFF\xFF\xFF\x7F", 4) + std::string(16, '\0');
  Error error{Code::kInternal, ""};
  EXPECT_TRUE(read_all(put("huge", record), &error).empty());
  EXPECT_NE(error.message.find("at most 67108864"), std::string::npos) << error.message;
  EXPECT_TRUE(read_all(put("huge_cb", "CBCAP1 kraken BTC/USD 100\n5 99999999999\nx\n"), &error).empty());
  EXPECT_NE(error.message.find("at most 67108864"), std::string::npos) << error.message;
  EXPECT_TRUE(read_all(put("huge_line", "1.5: " + std::string(kCaptureRecordBytesMax + 1, 'x')), &error).empty());
  EXPECT_NE(error.message.find("longer than 67108864"), std::string::npos) << error.message;
}

TEST_F(Capture, RebasesCbcapTimesOnTheHeader) {
  const std::string file = put("c", "CBCAP1 kraken BTC/USD 1785552832693693000\n1000 3\na\nb\n1500 2\n{}\n900 0\n\n");
  EXPECT_EQ(read_all(file), (std::vector<Kept>{{0, FrameKind::kWs, 1785552832693693000, "", "a\nb"},
                                               {0, FrameKind::kWs, 1785552832693693500, "", "{}"},
                                               {0, FrameKind::kWs, 1785552832693692900, "", ""}}));
  EXPECT_EQ((*open_capture(file))->connector(), "kraken");
}

TEST_F(Capture, SaysWhereCbcapIsDamaged) {
  const std::string header = "CBCAP1 kraken BTC/USD 100\n";
  for (const auto& [bytes, offset] : std::vector<std::pair<std::string, int>>{
           {"x 3\nabc\n", 26}, {"1 2\nabc\n", 26}, {"1 9\nabc\n", 26}, {"1 3\nabc\n2 3", 34}, {"1 3\nabc\n2 -3\n", 34}, {"1 3\nabc\n\n", 34},
           {"1 3\nabc\n" + std::string(100, '1'), 34}}) {
    Error error{Code::kInternal, ""};
    read_all(put("bad", header + bytes), &error);
    EXPECT_EQ(error.code, Code::kCorrupt) << bytes;
    EXPECT_NE(error.message.find("at byte " + std::to_string(offset)), std::string::npos) << error.message;
  }
  for (const char* wrong : {"CBCAP1 kraken 100\n", "CBCAP1 kraken BTC/USD x\n", "CBCAP1 \n"}) {
    Error error{Code::kInternal, ""};
    read_all(put("bad", wrong), &error);
    EXPECT_NE(error.message.find("was expected"), std::string::npos) << error.message;
  }
}

TEST_F(Capture, TakesJsonLinesWithoutALastLineFeed) {
  auto reader = open_capture(put("header", R"({"t":"header","ex":"CX"})"));
  ASSERT_TRUE(reader) << reader.error().message;
  Frame frame;
  const auto more = (*reader)->next(frame);
  ASSERT_TRUE(more) << more.error().message;
  EXPECT_FALSE(*more);
}

TEST_F(Capture, ReadsJsonLinesAsOnTheWire) {
  const std::string file = put("j",
      "{\"t\":\"header\",\"exchange\":\"COINBASE\",\"config\":{\"t\":[1,{}]}}\n"
      "{\"t\":\"http\",\"conn\":\"X.http.1\",\"ts\":1786309548.026294,\"url\":\"https://x/y\",\"data\":\"{\\\"a\\\":\\\"\\u00e9\\\\n\\\"}\"}\n"
      "{\"t\":\"connect\",\"conn\":\"X.ws.9\",\"ts\":1786309548.031329,\"addr\":\"wss://x\"}\n"
      "\n"
      "{\"ts\":1786309548.1743748,\"data\":\"s\\ud83d\\ude00\",\"t\":\"send\",\"conn\":\"X.ws.9\"}\r\n"
      "{\"t\":\"recv\",\"conn\":\"X.ws.2\",\"ts\":1786309549,\"data\":\"\\\"\\/\\b\\f\\n\\r\\t\\u0000\"}\n"
      "{\"t\":\"recv\",\"conn\":\"X.ws.9\",\"ts\":1786309549.000000001,\"data\":\"\"}");
  EXPECT_EQ(read_all(file), (std::vector<Kept>{
      {0, FrameKind::kHttp, 1786309548026294000, "https://x/y", "{\"a\":\"\xC3\xA9\\n\"}"},
      {0, FrameKind::kOpen, 1786309548031329000, "", "wss://x"},
      {0, FrameKind::kSent, 1786309548174374800, "", "s\xF0\x9F\x98\x80"},
      {1, FrameKind::kWs, 1786309549000000000, "", std::string("\"/\b\f\n\r\t\0", 8)},
      {0, FrameKind::kWs, 1786309549000000001, "", ""}}));
  EXPECT_EQ((*open_capture(file))->connector(), "coinbase");
}

TEST_F(Capture, SaysWhereAJsonLineIsDamaged) {
  const std::string good = "{\"t\":\"recv\",\"ts\":1,\"data\":\"x\"}\n";
  for (const char* bad : {"{\"t\":\"recv\",\"ts\":1,\"data\":\"x\n", "{\"t\":\"recv\",\"data\":\"x\"}\n", "{\"t\":\"recv\",\"ts\":1}\n",
                                 "{\"t\":\"what\",\"ts\":1,\"data\":\"x\"}\n", "{\"t\":\"recv\",\"ts\":\"now\",\"data\":\"x\"}\n", "garbage\n",
                                 "{\"t\":\"recv\",\"ts\":1,\"data\":7}\n", "{\"t\":\"recv\",\"ts\":1,\"data\":\"x\"} y\n", "[1]\n",
                                 "{\"t\":\"recv\",\"ts\":1,\"data\":\"\\ud800\"}\n", "{\"t\":\"recv\",\"ts\":1,\"da"}) {
    Error error{Code::kInternal, ""};
    const auto got = read_all(put("bad", good + bad + good), &error);
    if (std::string(bad).ends_with("\"da")) continue;  // runs into the next line; checked below
    EXPECT_EQ(got.size(), 1u) << bad;
    EXPECT_EQ(error.code, Code::kCorrupt) << bad;
    EXPECT_NE(error.message.find("at byte " + std::to_string(good.size())), std::string::npos) << error.message;
  }
  Error error{Code::kInternal, ""};
  EXPECT_EQ(read_all(put("cut", good + "{\"t\":\"recv\",\"ts\":1,\"da"), &error).size(), 1u);
  EXPECT_NE(error.message.find("cut short at byte"), std::string::npos) << error.message;
}

TEST_F(Capture, ReadsTextLines) {
  const std::string file = put("t",
      "wss://feed.example <-> 1618677816.8434298\n"
      "wss://feed.example <- 1618677817.020616: {\"a\":\"x <- 1: y\"}\n"
      "configuration: {\"x\":1}\n"
      "1618677817.061845: {\"b\": 1}\n"
      "https://api.example/products?a=1 -> 1618677816.8414998: [{}]\n"
      "1618677818: \n"
      "1618677819.5: x\n"
      "1618677819.123456789: x\n"
      "1618677819.1234567899: x\n"
      "\n\n");
  EXPECT_EQ(read_all(file), (std::vector<Kept>{
      {0, FrameKind::kOpen, 1618677816843429800, "", "wss://feed.example"},
      {0, FrameKind::kSent, 1618677817020616000, "", "{\"a\":\"x <- 1: y\"}"},
      {0, FrameKind::kWs, 1618677817061845000, "", "{\"b\": 1}"},
      {0, FrameKind::kHttp, 1618677816841499800, "https://api.example/products?a=1", "[{}]"},
      {0, FrameKind::kWs, 1618677818000000000, "", ""},
      {0, FrameKind::kWs, 1618677819500000000, "", "x"},
      {0, FrameKind::kWs, 1618677819123456789, "", "x"},
      {0, FrameKind::kWs, 1618677819123456789, "", "x"}}));
}

TEST_F(Capture, SaysWhereATextLineIsDamaged) {
  const std::string good = "1618677817.06: {}\n";
  for (const char* bad : {"nothing\n", "1.2.3: {}\n", "1618677817.: {}\n", "1618677817.5:{}\n", "9618677817.5: {}\n", "16186778: {}", "wss://x <-> soon\n", "wss://x\n", "123\n"}) {
    Error error{Code::kInternal, ""};
    EXPECT_EQ(read_all(put("bad", good + bad), &error).size(), 1u) << bad;
    EXPECT_EQ(error.code, Code::kCorrupt) << bad;
    EXPECT_NE(error.message.find("at byte 18"), std::string::npos) << error.message;
  }
}

TEST_F(Capture, ReportsACutCompressedFileAfterAllThatCanBeRead) {
  const std::string line = "1618677817.06: {\"some\":\"text of a certain length, so that blocks fill up\"}\n";
  std::string text;
  Random random(9);
  for (int i = 0; i < 20'000; ++i) text += std::to_string(1618677817 + i) + ".5: " + std::to_string(random.next()) + line.substr(14);
  for (const std::string& packed : {zstd(text), gzip(text)}) {
    Error error{Code::kInternal, ""};
    const auto got = read_all(put("cut", packed.substr(0, packed.size() / 2)), &error);
    EXPECT_GT(got.size(), 5'000u);
    EXPECT_LT(got.size(), 20'000u);
    EXPECT_EQ(error.code, Code::kCorrupt);
    EXPECT_NE(error.message.find(" stops in "), std::string::npos) << error.message;
    std::string damaged = packed;
    for (std::size_t i = 0; i < 64; ++i) damaged[packed.size() / 2 + i] ^= 0x55;
    const auto seen = read_all(put("damaged", damaged), &error);
    EXPECT_LT(seen.size(), 20'000u);
    EXPECT_EQ(error.code, Code::kCorrupt);
  }
}

TEST_F(Capture, SurvivesGarbage) {
  constexpr std::uint64_t kSeed = 10;
  SCOPED_TRACE(kSeed);
  Random random(kSeed);
  const std::vector<std::string> heads = {"UTPCAP1 x\n", "CBCAP1 a b 1\n", "{\"t\":\"header\"}\n", "1.5: x\n", "", "\x28\xB5\x2F\xFD", "\x1F\x8B"};
  for (int i = 0; i < 700; ++i) {
    std::string bytes = heads[static_cast<std::size_t>(i) % heads.size()];
    const std::size_t size = random.below(300);
    for (std::size_t k = 0; k < size; ++k) bytes += static_cast<char>(random.below(256));
    Error error{Code::kInternal, ""};
    for (const Kept& k : read_all(put("garbage", bytes), &error)) ASSERT_LE(k.bytes.size(), bytes.size());
  }
}

TEST_F(Capture, CountsTheBytesOfTheFile) {
  const std::string file = write_all("p", sample(3000, 11));
  auto reader = open_capture(file);
  ASSERT_TRUE(reader);
  EXPECT_EQ((*reader)->bytes_total(), fs::file_size(file));
  Frame frame;
  std::uint64_t before = (*reader)->bytes_read();
  for (auto more = (*reader)->next(frame); more && *more; more = (*reader)->next(frame)) {
    ASSERT_GE((*reader)->bytes_read(), before);
    before = (*reader)->bytes_read();
  }
  EXPECT_EQ((*reader)->bytes_read(), fs::file_size(file));
}

// Recorded files: the numbers are those that a reading of the files by hand gives.
struct Recorded {
  const char* file;
  const char* format;
  const char* connector;
  std::size_t frames, ws, connections;
  std::int64_t first_ns, last_ns;
};

class RecordedCapture : public testing::TestWithParam<Recorded> {};

TEST_P(RecordedCapture, IsReadToTheEnd) {
  const Recorded& want = GetParam();
  const std::string file = std::string(UTP_FIXTURES_DIR) + "/" + want.file;
  if (!fs::exists(file)) GTEST_SKIP() << "the recorded files are not here: " << file;
  auto reader = open_capture(file);
  ASSERT_TRUE(reader) << reader.error().message;
  EXPECT_EQ((*reader)->format(), want.format);
  EXPECT_EQ((*reader)->connector(), want.connector);
  std::size_t frames = 0, ws = 0, connections = 0;
  std::int64_t first_ns = 0, last_ns = 0;
  Frame frame;
  for (;;) {
    auto more = (*reader)->next(frame);
    ASSERT_TRUE(more) << more.error().message;
    if (!*more) break;
    if (frames++ == 0) first_ns = frame.receive_time.ns;
    last_ns = frame.receive_time.ns;
    if (frame.kind == FrameKind::kWs) {
      ++ws;
      ASSERT_TRUE(frame.bytes.starts_with('{') || frame.bytes.starts_with('[')) << frame.bytes.substr(0, 50);
      ASSERT_TRUE(frame.bytes.ends_with('}') || frame.bytes.ends_with(']'));
    }
    connections = std::max<std::size_t>(connections, frame.connection + 1);
  }
  EXPECT_EQ(frames, want.frames);
  EXPECT_EQ(ws, want.ws);
  EXPECT_EQ(connections, want.connections);
  EXPECT_EQ(first_ns, want.first_ns);
  EXPECT_EQ(last_ns, want.last_ns);
}

INSTANTIATE_TEST_SUITE_P(Fixtures, RecordedCapture, testing::Values(
    Recorded{"coinbase/cryptofeed_COINBASE_advanced_2026-08-09.jsonl.zst", "jsonl", "coinbase", 1037, 1030, 1, 1786309548026294000, 1786309572876037800},
    Recorded{"kraken/cryptofeed_KRAKEN_v1.jsonl.zst", "jsonl", "kraken", 4437, 4430, 3, 1618678132358447000, 1618678163372861900},
    Recorded{"binance/cryptofeed_BINANCE.jsonl.zst", "jsonl", "binance", 271, 265, 1, 1633998511132921000, 1633998542077861800},
    Recorded{"binance/cryptofeed_BINANCE_FUTURES.jsonl.zst", "jsonl", "binance_futures", 1541, 1535, 1, 1626992740175661000, 1626992771201806000},
    Recorded{"deribit/cryptofeed_DERIBIT.jsonl.zst", "jsonl", "deribit", 142, 136, 1, 1626993723131184800, 1626993754165582200},
    Recorded{"kraken/kraken_btcusd_l2.cbcap", "cbcap", "kraken", 377, 377, 1, 1785552832693693000, 1785552892932768200},
    Recorded{"kraken/kraken_btcusd_sample.cbcap", "cbcap", "kraken", 2104, 2104, 1, 1785641750295158100, 1785641800947908500},
    Recorded{"kraken/kraken_ethusd_sample.cbcap", "cbcap", "kraken", 1170, 1170, 1, 1785644622178672600, 1785644661367936600},
    Recorded{"coinbase/cryptofeed_COINBASE_exchange_2021-04-17.ws.txt.zst", "text", "", 9950, 9946, 1, 1618677816843429800, 1618677847846469900},
    Recorded{"coinbase/cryptofeed_COINBASE_exchange_2021-04-17.http.txt", "text", "", 1, 0, 1, 1618677816841499800, 1618677816841499800}));

}  // namespace
}  // namespace utp
