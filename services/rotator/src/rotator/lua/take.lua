-- Takes what is due. Told: limit, token (of this claim), claim_ms, default, and how long a content may be empty is in
-- its entry. Returns JSON: built, contents, volumes, next (when something is due again; 0 never), lost, claims.

local built = redis.call('GET', P .. 'built') or ''
local claims, lost = {}, 0

local function next_regular(key, due, interval)
  if interval == 0 then return 0 end
  local at = due + between(interval, 0.9, 1.1, key, due)
  return at > now and at or now + between(interval, 0.9, 1.1, key, now)
end

-- Moves `asked` for everything that has become due; returns when that was, and why.
local function open(key, c, interval)
  local due, why = 0, ''
  if c.force_at > 0 and c.force_at <= now then
    c.asked, due, why = math.max(c.asked, c.force_ask), c.force_at, 'change'
    c.force_at, c.force_ask, c.forced = 0, 0, now
    c.regular = next_regular(key, now, interval)
  end
  local lease = lease_due(c)
  if lease > 0 and lease <= now then
    c.asked, due, why = math.max(c.asked, lease), soonest(due, lease), why == '' and 'lease' or why
  end
  if c.regular > 0 and c.regular <= now then
    -- After a long silence a fetch since then does not count: it may be as old as the silence.
    local ask = now - c.regular > interval and now or c.regular
    c.asked, due, why = math.max(c.asked, ask), soonest(due, c.regular), why == '' and 'interval' or why
    c.regular = next_regular(key, c.regular, interval)
  end
  if why ~= '' then c.opened = now end
  return due, why
end

local function repeat_at(c, m)
  if m.misses == 0 or m.hinted < c.opened then return now end
  if m.state == 'p' then return m.hinted + HOPELESS_MS end
  return m.hinted + math.min(LONGEST_REPEAT_MS, FIRST_REPEAT_MS * 2 ^ math.min(m.misses - 1, 10))
end

local function members_of(key)
  local flat, members, interval, least = redis.call('HGETALL', P .. 'members:' .. key), {}, 0, math.huge
  for i = 1, #flat, 2 do
    local m = unpack_member(flat[i + 1])
    if m.state ~= 'f' then
      members[flat[i]] = m
      interval = soonest(interval, m.interval < 0 and told.default or m.interval)
      least = math.min(least, m.fetched)
    end
  end
  return members, interval, least
end

local function refresh(key, c, claim)
  local members, interval, least = members_of(key)
  if least < math.huge then drop_sources(key, c, least) end
  c.interval = interval
  if interval == 0 then c.regular = 0 end
  claim.due, claim.why = open(key, c, interval)
  claim.asked, claim.nodes, claim.again = c.asked, {}, 0
  c.repeat_at = 0
  local hinted = 0
  for volume, m in pairs(members) do
    if m.fetched < c.asked then
      local at = repeat_at(c, m)
      if at <= now then
        if m.misses > 0 then claim.again = claim.again + 1 end
        m.hinted, m.misses = now, m.misses + 1
        save_member(key, volume, m)
        claim.nodes[m.node] = claim.nodes[m.node] or {}
        table.insert(claim.nodes[m.node], volume)
        hinted = hinted + 1
        at = repeat_at({ opened = 0 }, m)
      end
      c.repeat_at = soonest(c.repeat_at, at)
    end
  end
  return hinted > 0
end

for _, key in ipairs(redis.call('ZRANGEBYSCORE', P .. 'due', '-inf', string.format('%.0f', now), 'LIMIT', 0, told.limit)) do
  local c = load_content(key)
  local claim = { key = key }
  if c.claim ~= '' and c.claim_until <= now then -- whoever took it has not said that its hints went out
    lost, c.opened = lost + 1, now
  end
  c.claim = ''
  local wanted
  if c.empty_since == 0 then
    wanted = refresh(key, c, claim)
  else
    -- While volumes may be missing, a content without any may well have some.
    wanted, claim.empty_since = built ~= '', c.empty_since
    c.repeat_at = now + told.claim_ms
  end
  if wanted then
    c.claim, c.claim_until = told.token, now + told.claim_ms
    table.insert(claims, claim)
  end
  save_content(key, c)
end

local first = redis.call('ZRANGE', P .. 'due', 0, 0, 'WITHSCORES')
return cjson.encode({
  built = built, contents = redis.call('ZCARD', P .. 'due'), volumes = redis.call('HLEN', P .. 'volumes'),
  next = (first[2] and first[2] ~= 'inf') and tonumber(first[2]) or 0, lost = lost, claims = claims,
})
