#include "drivers/bus/redis/scripts.h"

#include <array>

namespace utp::redis_bus {
namespace {

// Numbers are doubles here: ordinals (below 2^42), microseconds and generations fit exactly; nanoseconds and positions
// do not and stay texts.
constexpr const char* kPrelude = R"lua(
local stream = KEYS[1]
local state = stream .. ':state'
local function whole(n) return string.format('%.0f', n) end
local function parts(id)
  local dash = string.find(id, '-', 1, true)
  return tonumber(string.sub(id, 1, dash - 1)), tonumber(string.sub(id, dash + 1))
end
local function make(generation, number) return whole(generation) .. '-' .. whole(number) end
local function is_before(a, b)
  local ag, an = parts(a)
  local bg, bn = parts(b)
  return ag < bg or (ag == bg and an < bn)
end
local function now_us()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000000 + tonumber(t[2])
end
local function time_of(entry)
  for i = 1, #entry[2], 2 do
    if entry[2][i] == 't' then return entry[2][i + 1] end
  end
  return '0'
end
local function first_from(id) return redis.call('XRANGE', stream, id, '+', 'COUNT', 1)[1] end
local function tail()
  local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  if newest then return newest[1] end
  return redis.call('HGET', state, 'last') or '0-0'
end
-- The id just before the oldest entry: everything up to it is gone.
local function floor_id()
  local oldest = first_from('-')
  if not oldest then return redis.call('HGET', state, 'last') or '0-0' end
  local generation, number = parts(oldest[1])
  return make(generation, number - 1)
end
-- The first entry published at or after the time (a text of nanoseconds): publish times never go back within a partition.
local function first_at(time)
  local entry = first_from('-')
  local later = nil
  while entry and time_of(entry) < time do
    local generation, low = parts(entry[1])  -- too early
    local newest = redis.call('XREVRANGE', stream, whole(generation) .. '-18446744073709551615', entry[1], 'COUNT', 1)[1]
    if time_of(newest) < time then
      entry = first_from(make(generation + 1, 0))  -- all of this generation is
    else
      local _, high = parts(newest[1])
      later = newest
      while high - low > 1 do
        local middle = math.floor((low + high) / 2)
        local at = first_from(make(generation, middle))
        if time_of(at) < time then
          _, low = parts(at[1])
        else
          later = at
          high = middle
        end
      end
      return later
    end
  end
  return entry
end
-- Shows a group's progress to the server's own tools.
local function mirror(group, id)
  local _, number = parts(id)
  local answer = redis.pcall('XGROUP', 'SETID', stream, group, id, 'ENTRIESREAD', whole(number))
  if answer.err then redis.pcall('XGROUP', 'CREATE', stream, group, id, 'ENTRIESREAD', whole(number)) end
end
local function start_id(kind, time)
  if kind == 'latest' then return tail() end
  if kind == 'earliest' then return floor_id() end
  local entry = first_at(time)
  if not entry then return tail() end
  local generation, number = parts(entry[1])
  return make(generation, number - 1)
end
local function record_of(group) return stream .. ':group:' .. group end
local function attach(group, kind, time)
  if redis.call('EXISTS', record_of(group)) == 1 then return end
  local id = start_id(kind, time)
  redis.call('HSET', record_of(group), 'acknowledged', id, 'trimmed', 0, 'unreported', 0, 'epoch', whole(now_us()), 'owner', '',
             'lease_until', 0, 'passes', '')
  redis.call('SADD', stream .. ':groups', group)
  mirror(group, id)
end
-- Counts what was removed before the group acknowledged it, and moves the group behind it.
local function account(group)
  local at = redis.call('HGET', record_of(group), 'acknowledged')
  local bottom = floor_id()
  if not is_before(at, bottom) then return at end
  local _, read = parts(at)
  local _, gone = parts(bottom)
  if gone > read then
    redis.call('HINCRBY', record_of(group), 'trimmed', whole(gone - read))
    redis.call('HINCRBY', record_of(group), 'unreported', whole(gone - read))
  end
  redis.call('HSET', record_of(group), 'acknowledged', bottom)
  mirror(group, bottom)
  return bottom
end
local function is_owner(group, member, epoch)
  local r = redis.call('HMGET', record_of(group), 'owner', 'epoch')
  return r[1] == member and r[2] == epoch
end
)lua";

constexpr std::array<const char*, kScripts> kTexts = {
    // kPublish. A new run of the server starts a new generation of ids: what a lost tail had used does not come again.
    R"lua(
local run, previous = ARGV[1], ARGV[2]
local function open(known, generation, force)
  if known == run and not force then return tonumber(generation) end
  local before, number = tail(), 0
  if before ~= '0-0' then
    local g, n = parts(before)
    number = math.max(n, redis.call('XLEN', stream))
    redis.call('HSET', state, 'end:' .. whole(g), whole(number))
    generation = math.max(g, tonumber(generation) or 0)
  end
  local new = math.max((tonumber(generation) or 0) + 1, math.floor(now_us() / 1024000000))
  if redis.call('EXISTS', stream) == 0 then
    redis.call('XGROUP', 'CREATE', stream, 'utp', '$', 'MKSTREAM')
    redis.call('XGROUP', 'DESTROY', stream, 'utp')
  end
  redis.call('XSETID', stream, make(new, number), 'ENTRIESADDED', whole(number), 'MAXDELETEDID', '0-0')
  redis.call('HSET', state, 'run', run, 'generation', whole(new), 'last', make(new, number))
  redis.call('HSETNX', state, 'lost', 0)
  return new
end
local s = redis.call('HMGET', state, 'run', 'generation', 'time', 'created')
if s[4] ~= ARGV[4] then
  if ARGV[3] ~= '1' then return 'gone' end
  redis.call('HSET', state, 'created', ARGV[4])
end
local generation = open(s[1], s[2], false)
if previous ~= '' then
  local g, n = parts(previous)
  local ended = g < generation and redis.call('HGET', state, 'end:' .. whole(g))
  if ended and n > tonumber(ended) then
    redis.call('HINCRBY', state, 'lost', whole(n - tonumber(ended)))
    redis.call('HSET', state, 'end:' .. whole(g), whole(n))
  end
end
if #ARGV == 4 then return tail() end
local time = whole(now_us()) .. '000'
if s[3] and time < s[3] then time = s[3] end
local id = whole(generation) .. '-*'
local last = redis.call('XADD', stream, 'NOMKSTREAM', id, 't', time, 'k', ARGV[5], 'v', ARGV[6])
if not last then  -- somebody removed the stream alone
  id = whole(open(run, generation, true)) .. '-*'
  last = redis.call('XADD', stream, id, 't', time, 'k', ARGV[5], 'v', ARGV[6])
end
for i = 7, #ARGV, 2 do last = redis.call('XADD', stream, id, 't', time, 'k', ARGV[i], 'v', ARGV[i + 1]) end
redis.call('HSET', state, 'time', time, 'last', last)
return last
)lua",
    // kStart
    R"lua(
if ARGV[1] == '' then return start_id(ARGV[2], ARGV[3]) end
attach(ARGV[1], ARGV[2], ARGV[3])
return redis.call('HGET', record_of(ARGV[1]), 'acknowledged')
)lua",
    // kLease
    R"lua(
local group, member, epoch, wanted, lease, idle, passes = unpack(ARGV)
attach(group, 'earliest', '')
local at = account(group)
local r = redis.call('HMGET', record_of(group), 'owner', 'epoch', 'lease_until', 'passes', 'unreported')
local now = now_us()
if r[1] == member and r[2] == epoch then
  if wanted == '1' then
    redis.call('HSET', record_of(group), 'lease_until', whole(now + tonumber(lease)))
  elseif idle == '1' then
    redis.call('HSET', record_of(group), 'owner', '', 'passes', passes)
    return {'released'}
  end
  return {'held', at, r[5]}
end
if wanted ~= '1' then return {'none'} end
if r[1] ~= '' and r[1] ~= member and tonumber(r[3]) > now then return {'busy', whole(tonumber(r[3]) - now)} end
local new = whole(tonumber(r[2]) + 1)
redis.call('HSET', record_of(group), 'owner', member, 'epoch', new, 'lease_until', whole(now + tonumber(lease)))
return {'taken', at, r[5], new, r[4], r[1]}
)lua",
    // kAcknowledge
    R"lua(
local group, member, epoch, id, lease, passes, check = unpack(ARGV)
if not is_owner(group, member, epoch) then return {'fenced'} end
if check == '1' and is_before(tail(), id) then return {'ahead'} end
local at = account(group)
if is_before(at, id) then
  at = id
  redis.call('HSET', record_of(group), 'acknowledged', id)
  mirror(group, id)
end
redis.call('HSET', record_of(group), 'passes', passes)
if lease == '' then
  redis.call('HSET', record_of(group), 'owner', '')
else
  redis.call('HSET', record_of(group), 'lease_until', whole(now_us() + tonumber(lease)))
end
return {'done', at, redis.call('HGET', record_of(group), 'unreported')}
)lua",
    // kNote
    R"lua(
local group, member, epoch, passes, release = unpack(ARGV)
if not is_owner(group, member, epoch) then return 'fenced' end
redis.call('HSET', record_of(group), 'passes', passes)
if release == '1' then redis.call('HSET', record_of(group), 'owner', '') end
return 'done'
)lua",
    // kTake
    R"lua(
if not is_owner(ARGV[1], ARGV[2], ARGV[3]) then return 0 end
account(ARGV[1])
local count = redis.call('HGET', record_of(ARGV[1]), 'unreported')
redis.call('HSET', record_of(ARGV[1]), 'unreported', 0)
return tonumber(count)
)lua",
    // kTrim
    R"lua(
local bytes_max, age = tonumber(ARGV[1]), tonumber(ARGV[2])
if age > 0 then
  local first = first_at(whole(now_us() - age) .. '000')
  if first then
    redis.call('XTRIM', stream, 'MINID', first[1])
  else
    redis.call('XTRIM', stream, 'MAXLEN', 0)
  end
end
if bytes_max > 0 and redis.call('EXISTS', stream) == 1 then
  local bytes = redis.call('MEMORY', 'USAGE', stream, 'SAMPLES', 64)
  if bytes > bytes_max then
    local keep = math.floor(redis.call('XLEN', stream) * bytes_max / bytes)
    redis.call('XTRIM', stream, 'MAXLEN', '~', whole(keep), 'LIMIT', 0)
  end
end
return redis.call('XLEN', stream)
)lua",
    // kStats
    R"lua(
local oldest = first_from('-')
local last = tail()
local _, published = parts(last)
local bottom = floor_id()
local _, gone = parts(bottom)
local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
local answer = {redis.call('XLEN', stream), redis.call('MEMORY', 'USAGE', stream, 'SAMPLES', 64) or 0, whole(published),
                redis.call('HGET', state, 'lost') or '0', oldest and time_of(oldest) or '0', newest and time_of(newest) or '0'}
local now = now_us()
for _, group in ipairs(redis.call('SMEMBERS', stream .. ':groups')) do
  local r = redis.call('HMGET', record_of(group), 'acknowledged', 'trimmed', 'owner', 'lease_until')
  if r[1] then
    local _, read = parts(r[1])
    local trimmed = tonumber(r[2]) + math.max(0, gone - read)
    local lag = published - math.max(read, gone)
    local unread = '0'
    if lag > 0 then
      local entry = first_from('(' .. (is_before(r[1], bottom) and bottom or r[1]))
      if entry then unread = time_of(entry) end
    end
    local owner = ''
    if tonumber(r[4]) > now then owner = r[3] end
    answer[#answer + 1] = {group, whole(math.max(0, lag)), unread, whole(trimmed), owner}
  end
end
return answer
)lua",
    // kForget
    R"lua(
redis.call('DEL', record_of(ARGV[1]))
redis.call('SREM', stream .. ':groups', ARGV[1])
redis.pcall('XGROUP', 'DESTROY', stream, ARGV[1])
return 1
)lua",
    // kTopic
    R"lua(
local fresh = redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
if fresh == 0 and ARGV[3] == '1' then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
return {redis.call('HGET', KEYS[1], ARGV[1]), fresh}
)lua",
    // kMembers
    R"lua(
local member, lease, patterns = unpack(ARGV)
local now, changed, others = now_us(), 1, {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local name = all[i]
  local ends, reads = string.match(all[i + 1], '^(%d+) (.*)$')
  local left = tonumber(ends) - now
  if name == member then
    if left > 0 and reads == patterns then changed = 0 end
  elseif left > 0 then
    others[#others + 1] = name
    others[#others + 1] = whole(left)
    others[#others + 1] = reads
  else
    redis.call('HDEL', KEYS[1], name)
  end
end
redis.call('HSET', KEYS[1], member, whole(now + tonumber(lease)) .. ' ' .. patterns)
table.insert(others, 1, whole(changed))
return others
)lua",
};

}  // namespace

std::string script_text(Script script) { return std::string(kPrelude) + kTexts[static_cast<std::size_t>(script)]; }

}  // namespace utp::redis_bus
