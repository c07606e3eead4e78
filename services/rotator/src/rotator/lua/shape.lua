-- What the schedule looks like in Redis. Every script begins with this file; KEYS[1] is the prefix of all keys,
-- ARGV[1] the caller's clock in Unix milliseconds, ARGV[2] what else it is told, as JSON.
--
--   due                     sorted set: content key by when it must be looked at again
--   contents                hash: content key to a content, packed
--   members:<content key>   hash: volume to a member, packed; a volume is its node's name and its id (`rotator.words`)
--   volumes                 hash: volume to content key
--   pods                    hash: pod uid to volumes, packed
--   sources:<provider>/<source>, classes:<namespace>/<class>, provider:<name>   sets of content keys
--   gone:<volume>        when an unpublished volume was told of, so that an older word does not bring it back
--   recent:<provider>/<source>   a change of what nobody is known to hold: its volume may be told of any moment
--   seen:<event id>, finished:<pod uid>   so that it counts once; so that it counts although it came first
--   built                   which stream the schedule was made from; without it, volumes are missing

local P, now = KEYS[1], tonumber(ARGV[1])
local told = ARGV[2] and cjson.decode(ARGV[2]) or {}

local NEVER = '+inf'
local GONE_MS, RECENT_MS, SEEN_MS, FINISHED_MS = 900000, 120000, 3600000, 600000
local FIRST_REPEAT_MS, LONGEST_REPEAT_MS, HOPELESS_MS = 1000, 60000, 600000
local MOST_SOURCES = 10000 -- of a content; far more than a class may select
local AHEAD_MS = 10000 -- of a fetcher's clock
local LEASE_PAUSE_MS = 2000 -- a lease that ends as soon as it is made must not make a loop

local function soonest(a, b) -- 0 is never
  if a == 0 then return b end
  if b == 0 then return a end
  return math.min(a, b)
end

-- Scripts have no randomness of their own; this is spread as evenly, and the same on every replica.
local function chance(key, seed)
  return tonumber(string.sub(redis.sha1hex(key .. ':' .. string.format('%.0f', seed)), 1, 8), 16) / 4294967296
end

local function between(interval, least, most, key, seed)
  return math.floor(interval * (least + (most - least) * chance(key, seed)))
end

local function load_content(key)
  local packed = redis.call('HGET', P .. 'contents', key)
  local c = packed and cmsgpack.unpack(packed) or nil
  if c and c.sources[1] then -- a list, as an older version wrote it
    local named = {}
    for _, source in ipairs(c.sources) do named[source] = c.newest end
    c.sources = named
  end
  return c
end

-- asked: every member fetched before this shall ask again. opened: when it was last moved.
-- force_at, force_ask: a change that was heard, and is waited with until then. repeat_at: when hints are due again.
-- claim, claim_until: who is hinting right now. empty_since: when the last member left.
-- sources: each by the latest fetch of which any member said that it came from there.
local function new_content(provider)
  return {
    provider = provider, interval = 0, regular = 0, refresh_by = 0, newest = 0, asked = 0, opened = 0,
    force_at = 0, force_ask = 0, forced = 0, repeat_at = 0, claim = '', claim_until = 0, empty_since = 0,
    sources = {}, classes = {},
  }
end

-- When the content's lease wants it asked for again, unless that has been done.
local function lease_due(c)
  if c.refresh_by <= c.asked then return 0 end
  return c.asked == 0 and c.refresh_by or math.max(c.refresh_by, c.asked + LEASE_PAUSE_MS)
end

local function wake(c)
  if c.claim ~= '' then return soonest(c.claim_until, c.force_at) end
  if c.empty_since > 0 then return math.max(c.empty_since, c.repeat_at) end
  return soonest(soonest(c.regular, lease_due(c)), soonest(c.force_at, c.repeat_at))
end

local function save_content(key, c)
  local at = wake(c)
  redis.call('HSET', P .. 'contents', key, cmsgpack.pack(c))
  redis.call('ZADD', P .. 'due', at == 0 and NEVER or string.format('%.0f', at), key)
end

-- interval: what its class wants; 0 never, -1 what the rotator is set to. hinted, misses: the last hint, and how many
-- in a row were in vain. state: '' as usual, 'p' its last refresh failed for good, 'f' its pod has finished.
local function unpack_member(packed)
  local a = cmsgpack.unpack(packed)
  return { node = a[1], uid = a[2], told = a[3], fetched = a[4], interval = a[5], hinted = a[6], misses = a[7], state = a[8] }
end

local function load_member(key, volume)
  local packed = redis.call('HGET', P .. 'members:' .. key, volume)
  return packed and unpack_member(packed) or nil
end

local function save_member(key, volume, m)
  local packed = cmsgpack.pack({ m.node, m.uid, m.told, m.fetched, m.interval, m.hinted, m.misses, m.state })
  redis.call('HSET', P .. 'members:' .. key, volume, packed)
end

local function source_set(c, source) return P .. 'sources:' .. c.provider .. '/' .. source end

local function room_for_sources(c)
  local room = MOST_SOURCES
  for _ in pairs(c.sources) do room = room - 1 end
  return room
end

-- What a member names is added to what others do: no node can take away what another's volume is made of.
local function name_sources(key, c, sources, fetched)
  local room
  for _, source in ipairs(sources) do
    local at = c.sources[source]
    if not at then
      room = (room or room_for_sources(c)) - 1
      if room >= 0 then
        redis.call('SADD', source_set(c, source), key)
        at = fetched
      end
    end
    if at then c.sources[source] = math.max(at, fetched) end
  end
end

-- What was named only of fetches before `least`, the earliest that any member still has, is in nobody's content.
local function drop_sources(key, c, least)
  for source, fetched in pairs(c.sources) do
    if fetched < least then
      redis.call('SREM', source_set(c, source), key)
      c.sources[source] = nil
    end
  end
end

local function volumes_of(uid)
  local packed = redis.call('HGET', P .. 'pods', uid)
  return packed and cmsgpack.unpack(packed) or {}
end

local function drop_from_pod(uid, volume)
  local left = {}
  for _, each in ipairs(volumes_of(uid)) do
    if each ~= volume then table.insert(left, each) end
  end
  if #left > 0 then
    redis.call('HSET', P .. 'pods', uid, cmsgpack.pack(left))
  else
    redis.call('HDEL', P .. 'pods', uid)
  end
end

local function leave(key, volume, m, grace)
  redis.call('HDEL', P .. 'members:' .. key, volume)
  redis.call('HDEL', P .. 'volumes', volume)
  drop_from_pod(m.uid, volume)
  if redis.call('EXISTS', P .. 'members:' .. key) == 0 then
    local c = load_content(key)
    if not c then return end -- an evicting Redis is no place for a schedule, and no reason to fail
    c.empty_since, c.repeat_at, c.regular, c.interval, c.force_at, c.claim = now, now + grace, 0, 0, 0, ''
    save_content(key, c)
  end
end

-- Have every member ask again, from `at` on but not within `pause` of the last time, for what was fetched after `ask`.
local function force(key, ask, at, pause)
  local c = load_content(key)
  if not c or c.empty_since > 0 then return false end
  c.force_ask = math.max(c.force_ask, ask)
  c.force_at = soonest(c.force_at, math.max(at, c.forced + pause))
  save_content(key, c)
  return true
end
