-- Drop old answers, and leases under which old answers could be filled. Fences stay.
-- KEYS: entries.
for i = 1, #KEYS do
    local stored = redis.call('GET', KEYS[i])
    if stored and string.sub(stored, 1, 1) ~= 'F' then redis.call('DEL', KEYS[i]) end
end
return 1
