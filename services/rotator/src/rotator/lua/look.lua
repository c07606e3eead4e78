-- Shows a page of contents and changes nothing. Told: cursor, limit. Returns JSON: cursor, contents, each as key, when
-- it is looked at again (0 never), interval, asked, how many volumes hold it, and whether a rotator works on it.

local page, found = redis.call('HSCAN', P .. 'contents', told.cursor, 'COUNT', told.limit), {}
for i = 1, #page[2], 2 do
  local key, c = page[2][i], cmsgpack.unpack(page[2][i + 1])
  local members = redis.call('HLEN', P .. 'members:' .. key)
  table.insert(found, { key, wake(c), c.interval, c.asked, members, c.claim ~= '' })
end
return cjson.encode({ cursor = page[1], contents = found })
