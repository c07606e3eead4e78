-- A node's word on a volume. Told: kind, volume, at (us), node, uid, namespace, class, provider, key, fetched, interval,
-- refresh_by, sources, asked_for, hopeless, default (interval of those with -1), grace.
-- Returns what came of it: stale, left, unknown, joined, answered, failed, kept; and whether something is due at once.

local volume = told.volume
local key = redis.call('HGET', P .. 'volumes', volume)
local m = key and load_member(key, volume)

local last = m and m.told or tonumber(redis.call('GET', P .. 'gone:' .. volume) or '0')
if told.at < last then return { 'stale', 0 } end

if told.kind == 'unpublished' then
  local lasts = math.floor(told.at / 1000) + GONE_MS - now
  if lasts > 0 then
    redis.call('SET', P .. 'gone:' .. volume, string.format('%.0f', told.at), 'PX', string.format('%.0f', lasts))
  end
  if not m then return { 'unknown', 0 } end
  leave(key, volume, m, told.grace)
  return { 'left', 0 }
end

-- Nor may such a node keep others from their refreshes by a fetch in times to come.
told.fetched = math.min(told.fetched, now + AHEAD_MS)

local finished = m and m.state == 'f'
if m and key ~= told.key then
  leave(key, volume, m, told.grace)
  m = nil
end
local before = m
local c = load_content(told.key)
local fresh = not c
c = c or new_content(told.provider)
if not m then
  m = { hinted = 0, misses = 0, state = '' }
  local its = volumes_of(told.uid)
  table.insert(its, volume)
  redis.call('HSET', P .. 'pods', told.uid, cmsgpack.pack(its))
  redis.call('HSET', P .. 'volumes', volume, told.key)
  if redis.call('EXISTS', P .. 'finished:' .. told.uid) == 1 then finished = true end
end

m.node, m.uid, m.told, m.interval = told.node, told.uid, told.at, told.interval
-- By a fetcher's clock that is behind ours, a fetch may still seem too old: then its hint was in vain, and not repeated
-- at once.
if not before or told.fetched >= c.asked then
  m.misses, m.state = 0, ''
end
local outcome = before and 'kept' or 'joined'
if before and m.hinted > 0 and before.fetched < c.asked and told.fetched >= c.asked then outcome = 'answered' end
-- Its place among the words is settled above; a volume that was published anew may well hold less than before.
local again = told.kind == 'published' and before and told.fetched > m.fetched
m.fetched = told.fetched
if told.kind == 'failed' and m.fetched < c.asked and told.asked_for >= c.asked then
  m.state, outcome = told.hopeless and 'p' or '', 'failed'
end
-- Only being published with a later fetch says that its pod runs; a word that is repeated, or a late refresh, does not.
if finished then m.state = again and '' or 'f' end
save_member(told.key, volume, m)

if c.empty_since > 0 then
  c.empty_since, c.repeat_at, c.claim, fresh = 0, 0, '', true
end
if m.fetched >= c.newest then
  c.newest, c.refresh_by = m.fetched, told.refresh_by
end
name_sources(told.key, c, told.sources, m.fetched)
local class, known = told.namespace .. '/' .. told.class, false
for _, each in ipairs(c.classes) do known = known or each == class end
if not known then
  table.insert(c.classes, class)
  redis.call('SADD', P .. 'classes:' .. class, told.key)
end
redis.call('SADD', P .. 'provider:' .. c.provider, told.key)

local interval = m.interval < 0 and told.default or m.interval
if m.state ~= 'f' and interval > 0 and (c.regular == 0 or interval < c.interval) then
  -- What is published together must not stay together: the first time is spread over half an interval.
  local least, most = 0.9, 1.1
  if told.kind == 'published' then least, most = 0.5, 1.0 end
  local at = m.fetched + between(interval, least, most, told.key, m.fetched)
  if at <= now then at = now + between(math.min(interval, 30000), 0, 1, told.key, m.fetched) end -- no storm of the late
  c.interval, c.regular = interval, soonest(c.regular, at)
end

local recent = (fresh or not known) and { 'class:' .. class } or {}
if fresh then
  table.insert(recent, c.provider .. '/')
  for _, source in ipairs(told.sources) do table.insert(recent, c.provider .. '/' .. source) end
end
for _, name in ipairs(recent) do
  local changed = tonumber(redis.call('GET', P .. 'recent:' .. name) or '0')
  if m.fetched < changed then c.force_at, c.force_ask = now, math.max(c.force_ask, changed) end
end
if m.state == '' and m.misses == 0 and m.fetched < c.asked then c.repeat_at = soonest(c.repeat_at, now) end
save_content(told.key, c)
local at = wake(c)
return { outcome, (at > 0 and at <= now) and 1 or 0 }
