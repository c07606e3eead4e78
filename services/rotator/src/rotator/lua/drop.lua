-- Drops volumes, unless something was heard of them after all. Told: volumes, before (us), grace. Returns how many.

local dropped = 0
for _, volume in ipairs(told.volumes) do
  local key = redis.call('HGET', P .. 'volumes', volume)
  local m = key and load_member(key, volume)
  if m and m.told < told.before then
    leave(key, volume, m, told.grace)
    dropped = dropped + 1
  end
end
return dropped
