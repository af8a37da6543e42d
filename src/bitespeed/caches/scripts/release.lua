-- Take one's fence away. What is there instead of a fence was filled after the fence was lost.
-- KEYS: entries. ARGV: token.
for i = 1, #KEYS do
    local held = redis.call('GET', KEYS[i])
    if held and string.sub(held, 1, 1) == 'F' then
        local from, to = string.find(held, ARGV[1], 1, true)
        local rest = from and string.sub(held, 1, from - 1) .. string.sub(held, to + 1) or held
        if rest == 'F' then
            redis.call('DEL', KEYS[i])
        elseif from then
            redis.call('SET', KEYS[i], rest, 'KEEPTTL')
        end
    elseif held then
        redis.call('DEL', KEYS[i])
    end
end
return 1
