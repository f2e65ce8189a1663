// What the tests of the Redis bus share.
#pragma once

#include "bus/testing/bus_fixture.h"
#include "drivers/bus/redis/redis_bus.h"
#include "drivers/bus/redis/redis_server.h"

namespace utp::redis_bus_test {

using namespace bus_test;

inline constexpr const char* kStream = "utp:{utp.test.local.quotes.v2}:0";

using BusFixture = bus_test::ServerFixture<RedisServer>;

}  // namespace utp::redis_bus_test
