#include "drivers/bus/redis/scripts.h"

#include <array>

namespace utp::redis_bus {
namespace {

// Numbers are doubles here: ordinals (below 2^42), microseconds and generations fit exactly; positions do not and stay
// texts.
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
-- Publish times are texts of milliseconds, all of one length.
local function now_us()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000000 + tonumber(t[2])
end
-- An entry is one field and its value; the field begins with the time, and with the count where it is a pack.
local function time_of(entry) return string.match(entry[2][1], '^%d+') or '0' end
local function count_of(entry) return tonumber(string.match(entry[2][1], '^%d+%*(%d+)') or 1) end
local function first_from(id) return redis.call('XRANGE', stream, id, '+', 'COUNT', 1)[1] end
local function tail()
  local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  if newest then return newest[1] end
  if redis.call('EXISTS', stream) == 1 then
    local all = redis.call('XINFO', 'STREAM', stream)
    for i = 1, #all, 2 do
      if all[i] == 'last-generated-id' then return all[i + 1] end
    end
  end
  return redis.call('HGET', state, 'last') or '0-0'
end
-- The id just before the entry's first message.
local function before(entry)
  local generation, number = parts(entry[1])
  return make(generation, number - count_of(entry))
end
-- Everything up to it is gone.
local function floor_id()
  local oldest = first_from('-')
  return oldest and before(oldest) or tail()
end
-- The first entry published at or after the time (a text of milliseconds): publish times never go back within a partition.
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
  return entry and before(entry) or tail()
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
    // kOpen. A new run of the server starts a new generation of ids: what a lost tail had used does not come again. So does
    // a stream that somebody removed: publishers that go on in the old one are refused.
    R"lua(
local bus = KEYS[2]
local run, previous, earlier, creates, created = unpack(ARGV)
earlier = earlier == '1'
local pg, pn = 0, 0
if previous ~= '' then pg, pn = parts(previous) end
local s = redis.call('HMGET', state, 'run', 'generation', 'created')
if s[3] ~= created then
  if creates ~= '1' then return 'gone' end
  redis.call('HSET', state, 'created', created)
end
local b = redis.call('HMGET', bus, 'run', 'generation')
local newest = tonumber(b[2]) or 0
local function next_generation(above)
  newest = math.max(newest + 1, above + 1, math.floor(now_us() / 1024000000))
  redis.call('HSET', bus, 'run', run, 'generation', whole(newest))
end
if b[1] ~= run then next_generation(0) end
local generation = tonumber(s[2]) or 0
local stands = redis.call('EXISTS', stream) == 1
if s[1] ~= run or s[3] ~= created or not stands or (earlier and pg >= generation) then
  local g, number = parts(tail())
  number = math.max(number, redis.call('XLEN', stream))
  if earlier then g = math.max(g, pg) end
  if s[1] == run and not stands then  -- somebody removed the stream
    number = math.max(number, pn)
    next_generation(g)
  elseif newest <= g then
    next_generation(g)
  end
  if s[2] then redis.call('HSET', state, 'end:' .. s[2], whole(number)) end
  if earlier then redis.call('HSETNX', state, 'end:' .. whole(pg), whole(number)) end
  generation = newest
  if not stands then
    redis.call('XGROUP', 'CREATE', stream, 'utp', '$', 'MKSTREAM')
    redis.call('XGROUP', 'DESTROY', stream, 'utp')
  end
  local id = make(generation, number)
  redis.call('XSETID', stream, id, 'ENTRIESADDED', whole(number), 'MAXDELETEDID', '0-0')
  redis.call('HSET', state, 'run', run, 'generation', whole(generation), 'last', id)
  redis.call('HSETNX', state, 'lost', 0)
end
if earlier then
  local ended = redis.call('HGET', state, 'end:' .. whole(pg))
  if ended and pn > tonumber(ended) then
    redis.call('HINCRBY', state, 'lost', whole(pn - tonumber(ended)))
    redis.call('HSET', state, 'end:' .. whole(pg), whole(pn))
  end
end
return whole(generation)
)lua",
    // kPublish. The first message of a lane always goes alone: the id that the server gives it tells the number from which
    // the packs' ids are counted on. A server without memory refuses the first command that writes, and so the whole. Times
    // are whole milliseconds: so a call writes the newest down only where it is another, and they still never go back.
    R"lua(
local call, pcall = redis.call, redis.pcall
local bus = call('HMGET', KEYS[1], 'epoch', 'time')
if bus[1] ~= ARGV[1] then return 'gone' end
local t = call('TIME')
local time = t[1] .. string.sub(string.format('%06d', t[2]), 1, 3)
local stood = bus[2]
if not stood or time > stood then
  call('HSET', KEYS[1], 'time', time)
else
  time = stood
end
local answer, spaced = {time}, time .. ' '
local lone, id, at = tonumber(ARGV[2]), ARGV[3], 4
-- Apart from the rest because it is the bulk of a batch for very many topics.
for i = 1, lone do
  answer[i + 1] = pcall('XADD', KEYS[i + 1], 'NOMKSTREAM', id, spaced .. ARGV[at], ARGV[at + 1])
  at = at + 2
end
for lane = lone + 1, #KEYS - 1 do
  local stream, id, singles, packs = KEYS[lane + 1], ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  at = at + 3
  local stop = at + 2 * singles
  local key, field = ARGV[at], spaced .. ARGV[at]
  local last = pcall('XADD', stream, 'NOMKSTREAM', id, field, ARGV[at + 1])
  if type(last) == 'string' then
    for i = at + 2, stop - 2, 2 do
      if ARGV[i] ~= key then
        key = ARGV[i]
        field = spaced .. key
      end
      last = call('XADD', stream, id, field, ARGV[i + 1])
    end
    if packs > 0 then
      local generation, number = string.match(last, '^(%d+)-(%d+)$')
      for i = stop, stop + 3 * packs - 3, 3 do
        number = number + tonumber(ARGV[i])
        last = call('XADD', stream, string.format('%s-%.0f', generation, number), time .. ARGV[i + 1], ARGV[i + 2])
      end
      call('XSETID', stream, last, 'ENTRIESADDED', string.format('%.0f', number))  -- the server's own lag counts messages
    end
  end
  answer[lane + 1] = last
  at = stop + 3 * packs
end
return answer
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
if redis.call('EXISTS', stream) == 0 then return 0 end
local bytes_max, age = tonumber(ARGV[1]), tonumber(ARGV[2])
if age > 0 then
  local first = first_at(whole(math.floor((now_us() - age) / 1000)))
  if first then
    redis.call('XTRIM', stream, 'MINID', first[1])
  else
    redis.call('XTRIM', stream, 'MAXLEN', 0)
  end
end
if bytes_max > 0 then
  local bytes = redis.call('MEMORY', 'USAGE', stream, 'SAMPLES', 64)
  if bytes > bytes_max then
    local keep = math.floor(redis.call('XLEN', stream) * bytes_max / bytes)
    redis.call('XTRIM', stream, 'MAXLEN', '~', whole(keep), 'LIMIT', 0)
  end
end
redis.call('HSET', state, 'last', tail())
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
local answer = {whole(published - gone), redis.call('MEMORY', 'USAGE', stream, 'SAMPLES', 64) or 0, whole(published),
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
local topics, bus = KEYS[1], KEYS[2]
local fresh = redis.call('HSETNX', topics, ARGV[1], ARGV[2])
if fresh == 0 and ARGV[3] == '1' then redis.call('HSET', topics, ARGV[1], ARGV[2]) end
redis.call('HSETNX', bus, 'epoch', ARGV[4])
if fresh == 1 then  -- maybe of a name that was there before: its streams get ids above those
  local generation = tonumber(redis.call('HGET', bus, 'generation')) or 0
  redis.call('HSET', bus, 'generation', whole(math.max(generation + 1, math.floor(now_us() / 1024000000))))
end
return {redis.call('HGET', topics, ARGV[1]), fresh, redis.call('HGET', bus, 'epoch')}
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

// Texts of milliseconds are all of one length. A stream is held by a last id that no id of the bus comes after.
constexpr const char* kGuard = R"lua(
local call, pcall = redis.call, redis.pcall
local bus = call('HMGET', KEYS[1], 'epoch', 'time')
local t = call('TIME')
local now = t[1] .. string.sub(string.format('%06d', t[2]), 1, 3)
local newest = bus[2] and bus[2] > now and bus[2] or now
local time, held, answer = ARGV[2], {}, {newest}
local function hold(stream)
  local all = pcall('XINFO', 'STREAM', stream)
  for i = 1, #all, 2 do
    if all[i] == 'last-generated-id' then
      held[#held + 1] = stream
      held[#held + 1] = all[i + 1]
      call('XSETID', stream, '18446744073709551615-0')
    end
  end
end
local is_same = bus[1] == ARGV[1]
if is_same and time <= newest and tonumber(now) - tonumber(time) <= tonumber(ARGV[3]) then
  if not bus[2] or time > bus[2] then call('HSET', KEYS[1], 'time', time) end
  local at = 5
  for lane = 2, #KEYS do
    answer[lane] = pcall('XADD', KEYS[lane], 'NOMKSTREAM', ARGV[at], time .. ' ' .. ARGV[at + 1], ARGV[at + 2])
    if type(answer[lane]) == 'table' then
      hold(KEYS[lane])
    elseif answer[lane] and ARGV[at + 3] ~= '' then
      call('XSETID', KEYS[lane], answer[lane], 'ENTRIESADDED', ARGV[at + 3])
    end
    at = at + 4
  end
else
  for stream in string.gmatch(ARGV[4], '[^\n]+') do hold(stream) end
  for lane = 2, #KEYS do hold(KEYS[lane]) end
end
if #held > 0 then call('HSET', KEYS[1], 'held', table.concat(held, '\n')) end
return is_same and answer or 'gone'
)lua";

constexpr const char* kRelease = R"lua(
local held = redis.call('HGET', KEYS[1], 'held')
if not held then return end
for stream, last in string.gmatch(held, '([^\n]+)\n([^\n]+)') do redis.call('XSETID', stream, last) end
redis.call('HDEL', KEYS[1], 'held')
)lua";

}  // namespace

std::string script_text(Script script) {
  const std::string text = kTexts[static_cast<std::size_t>(script)];
  return script == Script::kPublish ? text : kPrelude + text;  // the prelude costs a publish two microseconds
}

std::string_view guard_text() { return kGuard; }
std::string_view release_text() { return kRelease; }

}  // namespace utp::redis_bus
