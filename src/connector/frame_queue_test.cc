#include "connector/frame_queue.h"

#include <atomic>
#include <chrono>
#include <thread>

#include <gtest/gtest.h>

#include "core/random.h"

namespace utp {
namespace {

Frame frame_of(std::string_view bytes, std::string_view tag = "", std::int64_t time_ns = 0) {
  Frame frame;
  frame.bytes = bytes;
  frame.tag = tag;
  frame.receive_time = {time_ns};
  return frame;
}

TEST(FrameQueue, GivesFramesBackWholeAndInOrder) {
  FrameQueue queue(4096);
  Frame first = frame_of("payload", "snapshot", 17);
  first.connection = 3;
  first.kind = FrameKind::kHttp;
  ASSERT_TRUE(queue.push(first));
  ASSERT_TRUE(queue.push(frame_of("")));
  const auto frames = queue.pop(10, 0);
  ASSERT_EQ(frames.size(), 2u);
  EXPECT_EQ(frames[0].bytes, "payload");
  EXPECT_EQ(frames[0].tag, "snapshot");
  EXPECT_EQ(frames[0].connection, 3u);
  EXPECT_EQ(frames[0].kind, FrameKind::kHttp);
  EXPECT_EQ(frames[0].receive_time.ns, 17);
  EXPECT_EQ(frames[1].bytes, "");
  queue.done(2);
  EXPECT_EQ(queue.bytes(), 0u);
}

TEST(FrameQueue, FramesThatWereNotFinishedComeAgain) {
  FrameQueue queue(4096);
  for (const char* text : {"a", "b", "c"}) ASSERT_TRUE(queue.push(frame_of(text)));
  ASSERT_EQ(queue.pop(10, 0).size(), 3u);
  queue.done(1);
  const auto frames = queue.pop(10, 0);
  ASSERT_EQ(frames.size(), 2u);
  EXPECT_EQ(frames[0].bytes, "b");
  queue.done(2);
  EXPECT_TRUE(queue.pop(10, 0).empty());
}

TEST(FrameQueue, NeverHoldsMoreThanItsBoundAndBlocksTheProducer) {
  constexpr std::size_t kBound = 64 * 1024;
  FrameQueue queue(kBound);
  const std::string bytes(1000, 'x');
  std::atomic<int> pushed{0};
  std::thread producer([&] {
    for (int i = 0; i < 1000; ++i) {
      if (!queue.push(frame_of(bytes))) return;
      ++pushed;
    }
  });
  int popped = 0;
  while (popped < 1000) {
    EXPECT_LE(queue.bytes(), kBound);
    const auto frames = queue.pop(16, 1'000'000'000);
    ASSERT_FALSE(frames.empty());
    EXPECT_LE(pushed - popped, 66);  // what fits, and the one being counted
    popped += static_cast<int>(frames.size());
    queue.done(frames.size());
  }
  producer.join();
  EXPECT_EQ(pushed, 1000);
}

TEST(FrameQueue, AFrameAboveTheBoundPassesAlone) {
  FrameQueue queue(4096);
  const std::string large(100'000, 'y');
  ASSERT_TRUE(queue.push(frame_of("before")));
  std::thread producer([&] {
    EXPECT_TRUE(queue.push(frame_of(large, "tag")));
    EXPECT_TRUE(queue.push(frame_of("after")));
  });
  std::vector<std::string> seen;
  while (seen.size() < 3) {
    const auto frames = queue.pop(10, 1'000'000'000);
    for (const Frame& frame : frames) seen.emplace_back(frame.bytes);
    queue.done(frames.size());
  }
  producer.join();
  EXPECT_EQ(seen[1], large);
  EXPECT_EQ(seen[2], "after");
}

// Also one that fits but for the room of its header.
TEST(FrameQueue, AFrameAboveTheBoundGivesItsRoomBackWhenItIsDone) {
  FrameQueue queue(4096);
  for (const std::size_t size : {4090u, 100'000u}) {
    ASSERT_TRUE(queue.push(frame_of(std::string(size, 'y'))));
    ASSERT_TRUE(queue.push(frame_of("after")));
    EXPECT_GE(queue.bytes(), size);
    EXPECT_EQ(queue.frames(), 2u);
    ASSERT_EQ(queue.pop(10, 0).size(), 2u);
    queue.done(1);
    EXPECT_LT(queue.bytes(), 200u);
    ASSERT_EQ(queue.pop(10, 0).size(), 1u);
    queue.done(1);
    EXPECT_EQ(queue.bytes(), 0u);
    EXPECT_EQ(queue.frames(), 0u);
  }
}

TEST(FrameQueue, ClosingReleasesProducerAndConsumer) {
  FrameQueue queue(4096);
  const std::string bytes(4000, 'z');
  ASSERT_TRUE(queue.push(frame_of(bytes)));
  std::thread producer([&] { EXPECT_FALSE(queue.push(frame_of(bytes))); });
  queue.close();
  producer.join();
  EXPECT_EQ(queue.pop(10, 1'000'000'000).size(), 1u);  // what was there is still given
  queue.done(1);
  EXPECT_TRUE(queue.pop(10, 60'000'000'000).empty());
}

TEST(FrameQueue, KeepsEveryByteThroughRandomSizesAndTwoProducers) {
  const std::uint64_t seed = 20261122;
  RecordProperty("seed", std::to_string(seed));
  FrameQueue queue(32 * 1024);
  constexpr std::uint32_t kFrames = 20'000;
  const auto produce = [&](std::uint32_t connection) {
    Random random(seed + connection);
    for (std::uint32_t i = 0; i < kFrames; ++i) {
      const std::string bytes(random.below(2000), static_cast<char>('a' + i % 26));
      Frame frame = frame_of(bytes, "", i);
      frame.connection = connection;
      ASSERT_TRUE(queue.push(frame));
    }
  };
  std::thread a(produce, 0), b(produce, 1);
  Random expected[2] = {Random(seed), Random(seed + 1)};
  std::uint32_t next[2] = {0, 0};
  Random consumer(seed + 99);
  while (next[0] + next[1] < 2 * kFrames) {
    const auto frames = queue.pop(1 + consumer.below(64), 10'000'000'000);
    ASSERT_FALSE(frames.empty());
    for (const Frame& frame : frames) {
      const std::uint32_t i = next[frame.connection]++;
      ASSERT_EQ(frame.receive_time.ns, i) << "seed " << seed;
      ASSERT_EQ(frame.bytes, std::string(expected[frame.connection].below(2000), static_cast<char>('a' + i % 26)));
    }
    queue.done(frames.size());
  }
  a.join();
  b.join();
  EXPECT_EQ(queue.bytes(), 0u);
}

}  // namespace
}  // namespace utp
