-- Nine customers known already for each new one.
-- Arguments: seed, customers known, number of the first new one.

local NEW = 0.1

local common = require "common"
local known, customer

function init(args)
    math.randomseed(tonumber(args[1]))
    known, customer = tonumber(args[2]), tonumber(args[3])
end

function request()
    if math.random() < NEW then
        customer = customer + 1
        return common.observation(customer, customer)
    end
    return common.repeated(known, 0)
end
