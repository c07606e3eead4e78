-- A pod has finished. Told: uid. Returns how many of its volumes are known; they are not hinted from here on.

local its = volumes_of(told.uid)
if #its == 0 then -- it may have come before its volumes
  redis.call('SET', P .. 'finished:' .. told.uid, '1', 'PX', FINISHED_MS)
end
for _, volume in ipairs(its) do
  local key = redis.call('HGET', P .. 'volumes', volume)
  local m = key and load_member(key, volume)
  if m then
    m.state = 'f'
    save_member(key, volume, m)
  end
end
return #its
