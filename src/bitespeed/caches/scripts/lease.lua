-- Lease missing entries: the owner of the token may fill them, unless a writer fences them first.
-- KEYS: the epoch's mark, then entries. ARGV: token, milliseconds.
-- Returns 1, or 0 if the mark is lost.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
for i = 2, #KEYS do
    redis.call('SET', KEYS[i], 'L' .. ARGV[1], 'NX', 'PX', ARGV[2])
end
return 1
