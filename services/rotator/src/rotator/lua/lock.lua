-- Takes the lock of whoever makes the schedule anew, or lets that one begin once more. Told: holder, hold_ms. Returns 1
-- if it is theirs. Beside its holder it notes how many steps are done: a Redis that comes back with an older state of
-- itself, as after a failover, comes back with that state's lock.

local held = redis.call('GET', P .. 'lock')
if held and string.match(held, '^%S*') ~= told.holder then return 0 end
redis.call('SET', P .. 'lock', told.holder .. ' 0', 'PX', told.hold_ms)
return 1
