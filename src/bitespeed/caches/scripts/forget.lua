-- Drop answers that have been overtaken, and leases under which such could be filled; fences stay.
-- KEYS: entries.
for i = 1, #KEYS do
    local held = redis.call('GET', KEYS[i])
    if held and string.sub(held, 1, 1) ~= 'F' then redis.call('DEL', KEYS[i]) end
end
return 1
