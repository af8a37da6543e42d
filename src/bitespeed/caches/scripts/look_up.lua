-- MGET, where writes go.
return redis.call('MGET', unpack(KEYS))
