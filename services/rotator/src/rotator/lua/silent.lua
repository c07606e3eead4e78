-- Volumes of which nothing was heard for long. Told: cursor, limit, before (us). Returns the next cursor and volume ids.

local page = redis.call('HSCAN', P .. 'volumes', told.cursor, 'COUNT', told.limit)
local silent = {}
for i = 1, #page[2], 2 do
  local m = load_member(page[2][i + 1], page[2][i])
  if m and m.told < told.before then table.insert(silent, page[2][i]) end
end
return { page[1], silent }
