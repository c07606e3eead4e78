-- Takes in what nodes told of volumes, each word by `told.lua`. Told: words, and for each of them default and grace;
-- holder, step and hold_ms from whoever makes the schedule anew: nothing is taken in unless the lock says that all of
-- its earlier steps are there. Returns what came of each word; nil without the lock.

if told.holder then
  if redis.call('GET', P .. 'lock') ~= told.holder .. ' ' .. told.step then return nil end
  redis.call('SET', P .. 'lock', told.holder .. ' ' .. (told.step + 1), 'PX', told.hold_ms)
end
local outcomes = {}
for i, word in ipairs(told.words) do
  word.default, word.grace = told.default, told.grace
  outcomes[i] = tell(word)
end
return outcomes
