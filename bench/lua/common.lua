-- What the workloads share: how a customer is spelled, and the figures at the end.

local FIRST = 10000000000 -- customer n is called FIRST + n, so that all values are equally long

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"

local common = {}

-- The request of one observation. LuaJIT would print numbers of this size as 1e+10.
function common.observation(email, phone)
    return wrk.format(nil, nil, nil, string.format(
        '{"email":"c%.0f@example.com","phoneNumber":"%.0f"}', FIRST + email, FIRST + phone))
end

-- One of the customers that were there before; each `linked`-th brought nothing but an email, to
-- the phone of the one before it. 0: none did.
function common.repeated(customers, linked)
    local n = math.random(customers)
    local is_linked = linked > 0 and n % linked == 0
    return common.observation(n, is_linked and n - 1 or n)
end

-- One line for bench/wrk.py. Latencies in microseconds; `status` counts answers above 399.
function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        'RESULT {"requests":%d,"microseconds":%d,"bytes":%.0f,"p50":%d,"p99":%d,' ..
        '"status":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d}\n',
        summary.requests, summary.duration, summary.bytes,
        latency:percentile(50), latency:percentile(99),
        errors.status, errors.connect, errors.read, errors.write, errors.timeout))
end

return common
