-- Keep everybody from using or filling entries, besides others who may do so already.
-- KEYS: the epoch's mark, then entries. ARGV: token, milliseconds, most bytes of tokens.
-- Returns 1; 0 when the mark is lost or too many fence the same entry, and then nothing has changed.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local fences = {}
for i = 2, #KEYS do
    local held = redis.call('GET', KEYS[i])
    if not held or string.sub(held, 1, 1) ~= 'F' then held = 'F' end
    if #held > tonumber(ARGV[3]) then return 0 end
    fences[i] = held .. ARGV[1]
end
for i = 2, #KEYS do
    redis.call('SET', KEYS[i], fences[i], 'PX', ARGV[2])
end
return 1
