"""The Lua scripts of budgets in Valkey, one for each step.

All keys of a project have one hash tag, so that several budgets are changed together in a cluster
too. Under the prefix: ``c:`` counters, by the length of the budget's name, the name, the window's
start and the key; ``r:`` reservations, as JSON; ``e`` the held ones by their expiry; ``k:`` the
keys of a window; ``w:`` the windows of a budget; ``a:`` ids of what was added; ``g`` the
generation.
"""

from __future__ import annotations

CLOCK = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
"""
"""The server's time in milliseconds, once in each script. Tests set it."""

_COMMON = f"""
local prefix = KEYS[1]
{CLOCK}"""
_COMMON += """
local kept = 3024000000

local function text(number)
    return string.format('%.0f', number + 0)  -- never '-0'
end

local function place(budget, start, key)
    return prefix .. ':c:' .. #budget .. ':' .. budget .. ':' .. start .. ':' .. key
end

local function change(counter, spent, held, uncertain)
    if redis.call('EXISTS', counter) == 1 then
        redis.call('HINCRBY', counter, 'spent', text(spent))
        redis.call('HINCRBY', counter, 'held', text(held))
        redis.call('HINCRBY', counter, 'uncertain', text(uncertain))
    end
end

local function counted(counter)
    local found = redis.call('HMGET', counter, 'spent', 'held', 'uncertain', 'resets')
    return tonumber(found[1] or 0), tonumber(found[2] or 0), tonumber(found[3] or 0),
        tonumber(found[4] or 0)
end

local function hold(budget, start, key, finish, amount, is_task)
    local counter = place(budget, start, key)
    redis.call('HINCRBY', counter, 'held', text(amount))
    local keys = prefix .. ':k:' .. #budget .. ':' .. budget .. ':' .. start
    local windows = prefix .. ':w:' .. budget
    redis.call('SADD', keys, key)
    redis.call('SADD', windows, start)
    local ttl = nil
    if finish >= 0 then
        ttl = finish - now + kept
    elseif is_task then
        ttl = 2592000000
    end
    if ttl then
        redis.call('PEXPIRE', counter, text(ttl))
        redis.call('PEXPIRE', keys, text(ttl))
        redis.call('PEXPIRE', windows, text(ttl))
    end
end

local function expire()
    local due = redis.call('ZRANGEBYSCORE', prefix .. ':e', '-inf', text(now), 'LIMIT', 0, 1000)
    for _, id in ipairs(due) do
        local stored = redis.call('GET', prefix .. ':r:' .. id)
        redis.call('ZREM', prefix .. ':e', id)
        if stored then
            local parts = cjson.decode(stored)
            for _, part in ipairs(parts) do
                local amount = tonumber(part[2])
                change(part[1], amount, -amount, amount)
                local _, _, _, resets = counted(part[1])
                part[3] = resets
            end
            redis.call('SET', prefix .. ':r:' .. id, cjson.encode(parts), 'PX', text(kept))
        end
    end
end

local function generation(made)
    redis.call('SET', prefix .. ':g', made, 'NX')
    return redis.call('GET', prefix .. ':g')
end
"""

CLAIM_FIELDS = 7
"""Arguments of a claim: budget, key, start, end (-1: never), limit, amount, is_task (0 or 1)."""

RESERVE = (
    _COMMON
    + """
-- ARGV: id, milliseconds, generation, then the claims. Returns state, time, generation, figures.
expire()
local id, lasts = ARGV[1], tonumber(ARGV[2])
local born = generation(ARGV[3])
-- A client that got no reply sends the step again: the reservation must not be made twice.
local is_again = redis.call('EXISTS', prefix .. ':r:' .. id) == 1
local reply, parts, fits = {}, {}, true
for i = 4, #ARGV, 7 do
    local start, finish = tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
    if now < start or (finish >= 0 and now >= finish) then
        return {'window', text(now), born}
    end
    local counter = place(ARGV[i], ARGV[i + 2], ARGV[i + 1])
    local spent, held, uncertain = counted(counter)
    local amount = tonumber(ARGV[i + 5])
    if is_again then
        held = held - amount
    end
    fits = fits and spent + held + amount <= tonumber(ARGV[i + 4])
    table.insert(parts, {counter, ARGV[i + 5], -1})
    table.insert(reply, text(spent))
    table.insert(reply, text(held))
    table.insert(reply, text(uncertain))
end
if is_again then
    return {'held', text(now), born, unpack(reply)}
end
if not fits then
    return {'refused', text(now), born, unpack(reply)}
end
for i = 4, #ARGV, 7 do
    local amount = tonumber(ARGV[i + 5])
    hold(ARGV[i], ARGV[i + 2], ARGV[i + 1], tonumber(ARGV[i + 3]), amount, ARGV[i + 6] == '1')
end
redis.call('SET', prefix .. ':r:' .. id, cjson.encode(parts), 'PX', text(lasts + kept))
redis.call('ZADD', prefix .. ':e', text(now + lasts), id)
return {'held', text(now), born, unpack(reply)}
"""
)

SETTLE = (
    _COMMON
    + """
-- ARGV: id, then the amounts; '' is unknown.
local stored = redis.call('GET', prefix .. ':r:' .. ARGV[1])
if not stored then
    return 0
end
redis.call('DEL', prefix .. ':r:' .. ARGV[1])
redis.call('ZREM', prefix .. ':e', ARGV[1])
for i, part in ipairs(cjson.decode(stored)) do
    local counter, reserved, resets = part[1], tonumber(part[2]), tonumber(part[3])
    local used = tonumber(ARGV[i + 1])
    if resets < 0 then
        if used then
            change(counter, used, -reserved, 0)
        else
            change(counter, reserved, -reserved, reserved)
        end
    elseif used then
        local _, _, _, at = counted(counter)
        if at == resets then
            change(counter, used - reserved, 0, -reserved)
        end
    end
end
return 1
"""
)

ADD = (
    _COMMON
    + """
-- ARGV: id, milliseconds for which it is known, then the claims. Returns state and time.
expire()
for i = 3, #ARGV, 7 do
    local start, finish = tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
    if now < start or (finish >= 0 and now >= finish) then
        return {'window', text(now)}
    end
end
-- A client that got no reply sends the step again: the amounts must not be added twice.
if not redis.call('SET', prefix .. ':a:' .. ARGV[1], '1', 'NX', 'PX', ARGV[2]) then
    return {'added', text(now)}
end
for i = 3, #ARGV, 7 do
    hold(ARGV[i], ARGV[i + 2], ARGV[i + 1], tonumber(ARGV[i + 3]), 0, ARGV[i + 6] == '1')
    change(place(ARGV[i], ARGV[i + 2], ARGV[i + 1]), tonumber(ARGV[i + 5]), 0, 0)
end
return {'added', text(now)}
"""
)

FIGURES = (
    _COMMON
    + """
-- ARGV: budget, start, end, whether there is one key, the key. Returns state, time, figures by key.
expire()
local budget, start, finish = ARGV[1], ARGV[2], tonumber(ARGV[3])
if now < tonumber(start) or (finish >= 0 and now >= finish) then
    return {'window', text(now)}
end
local keys = {ARGV[5]}
if ARGV[4] == '0' then
    keys = redis.call('SMEMBERS', prefix .. ':k:' .. #budget .. ':' .. budget .. ':' .. start)
end
local reply = {'found', text(now)}
for _, key in ipairs(keys) do
    local counter = place(budget, start, key)
    if redis.call('EXISTS', counter) == 1 then
        local spent, held, uncertain = counted(counter)
        for _, value in ipairs({key, text(spent), text(held), text(uncertain)}) do
            table.insert(reply, value)
        end
    end
end
return reply
"""
)

RESET = (
    _COMMON
    + """
-- ARGV: budget, whether there is one key, the key.
expire()
local budget = ARGV[1]
for _, start in ipairs(redis.call('SMEMBERS', prefix .. ':w:' .. budget)) do
    local keys = {ARGV[3]}
    if ARGV[2] == '0' then
        keys = redis.call('SMEMBERS', prefix .. ':k:' .. #budget .. ':' .. budget .. ':' .. start)
    end
    for _, key in ipairs(keys) do
        local counter = place(budget, start, key)
        if redis.call('EXISTS', counter) == 1 then
            redis.call('HSET', counter, 'spent', '0', 'uncertain', '0')
            redis.call('HINCRBY', counter, 'resets', 1)
        end
    end
end
return 1
"""
)
