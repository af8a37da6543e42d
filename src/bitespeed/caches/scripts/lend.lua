-- Lend tokens of a bucket that fills at a rate.
-- KEYS: the bucket. ARGV: tokens a second, its capacity, tokens wanted.
-- Returns how many are lent and, if none, after how many milliseconds there will be one.
local rate, capacity, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stored = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = tonumber(stored[1]) or capacity
tokens = math.min(capacity, tokens + math.max(0, now - (tonumber(stored[2]) or now)) * rate / 1000)
local lent = math.min(wanted, math.floor(tokens))
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens - lent), 'at', tostring(now))
redis.call('PEXPIRE', KEYS[1], math.ceil(capacity / rate * 1000) + 1000)
return {lent, lent > 0 and 0 or math.ceil((1 - tokens) / rate * 1000)}
