-- Store answers in the entries whose lease is unbroken.
-- KEYS: the epoch's mark, then entries. ARGV: token, milliseconds, then the answers.
-- Returns the number of stored answers.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local lease, filled = 'L' .. ARGV[1], 0
for i = 2, #KEYS do
    if redis.call('GET', KEYS[i]) == lease then
        redis.call('SET', KEYS[i], ARGV[i + 1], 'PX', ARGV[2])
        filled = filled + 1
    end
end
return filled
