-- Remove the fences of a token. An entry without a fence was filled after its fence was lost, and is
-- removed too.
-- KEYS: entries. ARGV: token.
for i = 1, #KEYS do
    local stored = redis.call('GET', KEYS[i])
    if stored and string.sub(stored, 1, 1) == 'F' then
        local from, to = string.find(stored, ARGV[1], 1, true)
        local rest = from and string.sub(stored, 1, from - 1) .. string.sub(stored, to + 1) or stored
        if rest == 'F' then
            redis.call('DEL', KEYS[i])
        elseif from then
            redis.call('SET', KEYS[i], rest, 'KEEPTTL')
        end
    elseif stored then
        redis.call('DEL', KEYS[i])
    end
end
return 1
