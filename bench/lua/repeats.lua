-- Customers known already, drawn at random. Arguments: seed, customers, linked (see common.lua).

local common = require "common"
local customers, linked

function init(args)
    math.randomseed(tonumber(args[1]))
    customers, linked = tonumber(args[2]), tonumber(args[3])
end

function request()
    return common.repeated(customers, linked)
end
