-- Gives a lock back if it is still ours. Told: holder, step, built (what to note if so; empty for nothing). Returns 1 if
-- it was.

if redis.call('GET', P .. 'lock') ~= told.holder .. ' ' .. told.step then return 0 end
if told.built ~= '' then redis.call('SET', P .. 'built', told.built) end
redis.call('DEL', P .. 'lock')
return 1
