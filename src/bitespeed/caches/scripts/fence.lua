-- Add a fence to entries, so that nobody uses or fills them. An entry may have several fences.
-- KEYS: the epoch's mark, then entries. ARGV: token, milliseconds, maximum bytes of tokens.
-- Returns 1, or 0 and changes nothing if the mark is lost or an entry has too many fences.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local fences = {}
for i = 2, #KEYS do
    local stored = redis.call('GET', KEYS[i])
    if not stored or string.sub(stored, 1, 1) ~= 'F' then stored = 'F' end
    if #stored > tonumber(ARGV[3]) then return 0 end
    fences[i] = stored .. ARGV[1]
end
for i = 2, #KEYS do
    redis.call('SET', KEYS[i], fences[i], 'PX', ARGV[2])
end
return 1
