-- MGET on the primary.
return redis.call('MGET', unpack(KEYS))
