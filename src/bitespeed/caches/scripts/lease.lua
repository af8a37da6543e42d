-- Mark what is missing, so that it can be filled by whoever marked it, unless a writer comes between.
-- KEYS: the epoch's mark, then entries. ARGV: token, milliseconds. Returns 1, or 0 when the mark is lost.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
for i = 2, #KEYS do
    redis.call('SET', KEYS[i], 'L' .. ARGV[1], 'NX', 'PX', ARGV[2])
end
return 1
