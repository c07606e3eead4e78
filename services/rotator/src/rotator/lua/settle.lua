-- The hints of a claim went out, or the end of an empty content was told. Told: token, keys.
-- A claim that has run out, or was overtaken, is another's.

local function forget(key, c)
  for source in pairs(c.sources) do redis.call('SREM', source_set(c, source), key) end
  for _, class in ipairs(c.classes) do redis.call('SREM', P .. 'classes:' .. class, key) end
  redis.call('SREM', P .. 'provider:' .. c.provider, key)
  redis.call('HDEL', P .. 'contents', key)
  redis.call('ZREM', P .. 'due', key)
end

local settled = 0
for _, key in ipairs(told.keys) do
  local c = load_content(key)
  if c and c.claim == told.token then
    settled = settled + 1
    if c.empty_since > 0 then
      forget(key, c)
    else
      c.claim = ''
      save_content(key, c)
    end
  end
end
return settled
