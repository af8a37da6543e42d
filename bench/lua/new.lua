-- Customers never seen before. Arguments: the number of the first one.

local common = require "common"
local customer

function init(args)
    customer = tonumber(args[1])
end

function request()
    customer = customer + 1
    return common.observation(customer, customer)
end
