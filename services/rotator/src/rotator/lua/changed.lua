-- Something changed. Told: sets (names of the sets of contents it concerns), recent (names under which it is remembered
-- for volumes not yet told of), id, ask, spread (ms over which it is acted upon), pause.
-- Returns how many contents it made due; -1 if it was seen before, -2 if volumes are missing from the schedule.

if redis.call('EXISTS', P .. 'built') == 0 then return -2 end
if told.id ~= '' and redis.call('EXISTS', P .. 'seen:' .. told.id) == 1 then return -1 end

local matched, done = 0, {}
for _, set in ipairs(told.sets) do
  for _, key in ipairs(redis.call('SMEMBERS', P .. set)) do
    local at = now + math.floor(told.spread * chance(key, told.ask))
    if not done[key] and force(key, told.ask, at, told.pause) then matched = matched + 1 end
    done[key] = true
  end
end
for _, name in ipairs(told.recent) do
  redis.call('SET', P .. 'recent:' .. name, string.format('%.0f', told.ask), 'PX', RECENT_MS)
end
if matched > 0 and told.id ~= '' then redis.call('SET', P .. 'seen:' .. told.id, '1', 'PX', SEEN_MS) end
return matched
