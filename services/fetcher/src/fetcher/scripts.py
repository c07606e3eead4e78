"""What Redis does for fetchers in one step each (Lua). Times are Unix milliseconds, lives are milliseconds."""

from __future__ import annotations

from keyferry.store import script

CLAIM = script("""
-- KEYS: content, lock, failure of whom we waited for or of the moment, pause, bucket
-- ARGV: wanted, token, started, life of the lock, refresh, calls per second, burst, patience
local at = tonumber(redis.call('HGET', KEYS[1], 'at') or '')
if at and at >= tonumber(ARGV[1]) then
  if ARGV[5] == '0' and redis.call('HGET', KEYS[1], 'lease') == '1' then
    local moment = tonumber(redis.call('HGET', KEYS[1], 'moment') or '') or at
    redis.call('HSET', KEYS[1], 'moment', string.format('%.0f', math.max(moment, tonumber(ARGV[3]))))
  end
  return {'found', redis.call('HGET', KEYS[1], 'sealed')}
end
local failure = redis.call('GET', KEYS[3])
if failure then
  return {'failed', failure}
end
local holder = redis.call('GET', KEYS[2])
if holder then
  return {'busy', holder}
end
redis.call('SET', KEYS[2], ARGV[2] .. ':' .. ARGV[3], 'PX', ARGV[4])
local before = false
if at and (ARGV[5] == '1' or redis.call('HGET', KEYS[1], 'lease') == '1') then
  before = redis.call('HGET', KEYS[1], 'sealed')
end
local pause = math.max(0, redis.call('PTTL', KEYS[4]))
local wait = 0
local rate = tonumber(ARGV[6])
if rate > 0 and pause == 0 then
  -- A leaky bucket as one number, the time at which it is empty (ITU-T I.371, GCRA).
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local empty = math.max(now, tonumber(redis.call('GET', KEYS[5]) or '') or 0)
  wait = math.max(0, empty - now - tonumber(ARGV[7]))
  if wait > tonumber(ARGV[8]) then
    pause = wait
    wait = 0
  else
    local life = math.ceil(empty - now + 1000 / rate) + 1000
    redis.call('SET', KEYS[5], string.format('%.3f', empty + 1000 / rate), 'PX', life)
  end
end
return {'won', before, math.ceil(pause), math.ceil(wait)}
""")

STORE = script("""
-- KEYS: content, lock, stale; ARGV: fetched at, sealed, life, token, lease, moment
-- The moment: when a mount last took it, or what a refresh asked for, which may be long before it was fetched.
local at = tonumber(redis.call('HGET', KEYS[1], 'at') or '') or 0
if tonumber(ARGV[1]) >= at then
  local moment = math.max(tonumber(redis.call('HGET', KEYS[1], 'moment') or '') or at, tonumber(ARGV[6]))
  redis.call('HSET', KEYS[1], 'at', ARGV[1], 'sealed', ARGV[2], 'lease', ARGV[5])
  redis.call('HSET', KEYS[1], 'moment', string.format('%.0f', moment))
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  redis.call('DEL', KEYS[3])
end
local holder = redis.call('GET', KEYS[2])
if holder and string.sub(holder, 1, #ARGV[4] + 1) == ARGV[4] .. ':' then
  redis.call('DEL', KEYS[2])
end
return 1
""")

FAIL = script("""
-- KEYS: failure, lock, pause, failure of the moment; ARGV: sealed, life, token, pause, life of the latter
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if tonumber(ARGV[5]) > 0 then
  redis.call('SET', KEYS[4], ARGV[1], 'PX', ARGV[5])
end
if tonumber(ARGV[4]) > math.max(0, redis.call('PTTL', KEYS[3])) then
  redis.call('SET', KEYS[3], '1', 'PX', ARGV[4])
end
local holder = redis.call('GET', KEYS[2])
if holder and string.sub(holder, 1, #ARGV[3] + 1) == ARGV[3] .. ':' then
  redis.call('DEL', KEYS[2])
end
return 1
""")

EXTEND = script("""
-- KEYS: lock; ARGV: token, life
local holder = redis.call('GET', KEYS[1])
if holder and string.sub(holder, 1, #ARGV[1] + 1) == ARGV[1] .. ':' then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
""")

RELEASE = script("""
-- KEYS: lock; ARGV: token
local holder = redis.call('GET', KEYS[1])
if holder and string.sub(holder, 1, #ARGV[1] + 1) == ARGV[1] .. ':' then
  return redis.call('DEL', KEYS[1])
end
return 0
""")

WITHDRAW = script("""
-- KEYS: content, lock, stale, ending; ARGV: nobody held it then
-- A refresh for a moment at which somebody still held it says nothing of anybody holding it now, however late it was.
if redis.call('EXISTS', KEYS[2]) == 1 then
  return 'busy'
end
local moment = tonumber(redis.call('HGET', KEYS[1], 'moment') or redis.call('HGET', KEYS[1], 'at') or '')
if moment and moment <= tonumber(ARGV[1]) then
  redis.call('RENAME', KEYS[1], KEYS[4])
  redis.call('DEL', KEYS[3])
end
return redis.call('HGET', KEYS[4], 'sealed')
""")
