#!lua name=parking
-- Live state: what each space and lot looks like now. Layouts are those of live_state.py.
-- Every function runs atomically, so several gateways and the worker may write.

local SPACES, OCCUPIED, KNOWN = 'parking:spaces', 'parking:lots:occupied', 'parking:lots:known'
local CHANGES, COUNTER, EPOCH, PULSE = 'parking:changes', 'parking:changes:count', 'parking:epoch', 'parking:pulse'
local SEQUENCES, REBUILD = 'parking:sequences', 'parking:rebuild'
local ABSENT_US = 40000000  -- a gateway silent for 30 s is taken over, which takes seconds
local REMEMBERED = 64       -- missing numbers a device that a late message can still fill
local RESTART_BELOW = 16    -- a number this small, far behind, is a device that counts from the start again
local NEW_COUNT = 10000     -- a jump this large is a device that counts from elsewhere, not ten thousand lost messages
local TURN = 65536           -- where a 16-bit number begins again
local NEAR_TURN = 4096       -- numbers before and after it, so that losses do not hide a wrap
local STREAM_LENGTH = '10000'  -- minutes of batches: longer absences load the whole state again
local FIELDS_A_CALL = 4000     -- Lua's unpack() has a limit near 8,000

local function in_pieces(fields, act)
    for first = 1, #fields, FIELDS_A_CALL do
        act(first, math.min(first + FIELDS_A_CALL - 1, #fields))
    end
end

local function read_records(fields)
    local records = {}
    in_pieces(fields, function(first, last)
        local part = redis.call('HMGET', SPACES, unpack(fields, first, last))
        for i = 1, #part do records[first + i - 1] = part[i] end
    end)
    return records
end

local function write_records(pairs_to_write)
    in_pieces(pairs_to_write, function(first, last)
        redis.call('HSET', SPACES, unpack(pairs_to_write, first, last))
    end)
end

local function announce(...)
    redis.call('XADD', CHANGES, 'MAXLEN', '~', STREAM_LENGTH, '*', 'n', redis.call('INCR', COUNTER), ...)
end

local function publish(changed_spaces, occupied_by, known_by)
    if #changed_spaces == 0 then return end
    local lots = {}
    for lot, known in pairs(known_by) do
        -- Below nothing: a space that was counted in another lot; the worker finds it and rebuilds.
        lots[#lots + 1] = struct.pack('>I4I4I4', lot,
            math.max(0, redis.call('HINCRBY', OCCUPIED, lot, occupied_by[lot])),
            math.max(0, redis.call('HINCRBY', KNOWN, lot, known)))
    end
    announce('s', table.concat(changed_spaces), 'l', table.concat(lots))
end

-- Whether the number was missing; it no longer is.
local function fills(missing, seq)
    for i = #missing, 1, -1 do
        if missing[i] == seq then
            table.remove(missing, i)
            return true
        end
    end
    return false
end

-- One device: record (highest u32, missing u32...) or false, and the numbers that came. Answers record, change.
local function observe(record, numbers)
    local highest, missing, delta = nil, {}, 0
    if record then
        highest = struct.unpack('>I4', record)
        for at = 5, #record, 4 do missing[#missing + 1] = (struct.unpack('>I4', record, at)) end
    end
    for _, seq in ipairs(numbers) do
        local ahead = highest and (seq - highest) % 4294967296 or 1
        if not highest or (ahead >= NEW_COUNT and ahead < 2147483648) then
            if fills(missing, seq) then  -- late, from before 16 bits began again
                delta = delta - 1
            else
                highest, missing = seq, {}
            end
        elseif ahead > 0 and ahead < NEW_COUNT then
            for lost = math.max(1, ahead - REMEMBERED), ahead - 1 do
                missing[#missing + 1] = (highest + lost) % 4294967296
            end
            delta, highest = delta + ahead - 1, seq
        elseif ahead > 0 then
            local is_turn = seq < NEAR_TURN and highest >= TURN - NEAR_TURN and highest < TURN
            if fills(missing, seq) then
                delta = delta - 1
            elseif is_turn then  -- 16 bits that begin again
                ahead = seq + TURN - highest
                for lost = math.max(1, ahead - REMEMBERED), ahead - 1 do
                    missing[#missing + 1] = (highest + lost) % TURN
                end
                delta, highest = delta + ahead - 1, seq
            elseif seq < RESTART_BELOW and highest >= RESTART_BELOW then
                highest, missing = seq, {}
            end
        end
    end
    local packed = {struct.pack('>I4', highest)}
    for i = math.max(1, #missing - REMEMBERED + 1), #missing do packed[#packed + 1] = struct.pack('>I4', missing[i]) end
    return table.concat(packed), delta
end

-- ARGV[1]: updates of 21 bytes: space u32, lot u32, occurred_us u64, seq u32, occupied u8. Answers the number applied.
redis.register_function('parking_apply', function(keys, args)
    if redis.call('EXISTS', EPOCH) == 0 then return -1 end
    local blob, fields, at = args[1], {}, 1
    local count = #blob / 21
    for i = 1, count do fields[i] = (struct.unpack('>I4', blob, (i - 1) * 21 + 1)) end
    local records = read_records(fields)
    local writes, changed, occupied_by, known_by, applied, fresh = {}, {}, {}, {}, 0, {}
    for i = 1, count do
        local space, lot, occurred, seq, occupied = struct.unpack('>I4I4I8I4B', blob, at)
        local record = fresh[space] or records[i]
        local before_occupied, before_known, newer = 0, 0, true
        if record then
            local was, was_seq, was_occupied, was_known = struct.unpack('>I8I4BB', record)
            newer = occurred > was or (occurred == was and (seq > was_seq or (seq == was_seq and
                (occupied > was_occupied or (occupied == was_occupied and was_known == 0)))))
            before_known, before_occupied = was_known, was_occupied * was_known
        end
        if newer then
            record = string.sub(blob, at + 8, at + 20) .. '\1'
            fresh[space] = record
            writes[#writes + 1] = space
            writes[#writes + 1] = record
            applied = applied + 1
            if before_known == 0 or before_occupied ~= occupied then
                changed[#changed + 1] = struct.pack('>I4BB', space, occupied, 1)
                occupied_by[lot] = (occupied_by[lot] or 0) + occupied - before_occupied
                known_by[lot] = (known_by[lot] or 0) + 1 - before_known
            end
        end
        at = at + 21
    end
    if applied > 0 then write_records(writes) end
    publish(changed, occupied_by, known_by)
    return applied
end)

-- ARGV[1]: the new "known" (0 or 1); ARGV[2]: pairs of 8 bytes: space u32, lot u32. Answers the number changed.
redis.register_function('parking_set_known', function(keys, args)
    if redis.call('EXISTS', EPOCH) == 0 then return -1 end
    local known, blob, fields, lots = tonumber(args[1]), args[2], {}, {}
    for i = 1, #blob / 8 do fields[i], lots[i] = struct.unpack('>I4I4', blob, (i - 1) * 8 + 1) end
    local records = read_records(fields)
    local writes, changed, occupied_by, known_by = {}, {}, {}, {}
    for i = 1, #fields do
        local record = records[i]
        if record and string.byte(record, 14) ~= known then
            local occupied, step, lot = string.byte(record, 13), known * 2 - 1, lots[i]
            writes[#writes + 1] = fields[i]
            writes[#writes + 1] = string.sub(record, 1, 13) .. string.char(known)
            changed[#changed + 1] = struct.pack('>I4BB', fields[i], occupied, known)
            occupied_by[lot] = (occupied_by[lot] or 0) + step * occupied
            known_by[lot] = (known_by[lot] or 0) + step
        end
    end
    if #writes > 0 then write_records(writes) end
    publish(changed, occupied_by, known_by)
    return #changed
end)

-- Which numbers of a device nobody received: per device the highest number and those missing below it.
-- ARGV[1]: observations of 8 bytes: device u32, seq u32. Answers changes of 8 bytes: device u32, missing i32.
redis.register_function('parking_observe_seq', function(keys, args)
    local blob, devices, seen = args[1], {}, {}  -- seen: the number of a device, a list where it sent several
    for i = 1, #blob / 8 do
        local device, seq = struct.unpack('>I4I4', blob, (i - 1) * 8 + 1)
        local held = seen[device]
        if not held then
            seen[device] = seq
            devices[#devices + 1] = device
        elseif type(held) == 'number' then
            seen[device] = {held, seq}
        else
            held[#held + 1] = seq
        end
    end
    local writes, deltas = {}, {}
    in_pieces(devices, function(first, last)
        local part = redis.call('HMGET', SEQUENCES, unpack(devices, first, last))
        for i = 1, #part do
            local device, before = devices[first + i - 1], part[i]
            local numbers, record, delta = seen[device], nil, 0
            if type(numbers) == 'number' and before and #before == 4 and numbers == struct.unpack('>I4', before) + 1 then
                record = struct.pack('>I4', numbers)  -- the next number, nothing missing: nearly every message
            else
                record, delta = observe(before, type(numbers) == 'number' and {numbers} or numbers)
            end
            writes[#writes + 1] = device
            writes[#writes + 1] = record
            if delta ~= 0 then deltas[#deltas + 1] = struct.pack('>I4i4', device, delta) end
        end
    end)
    in_pieces(writes, function(first, last) redis.call('HSET', SEQUENCES, unpack(writes, first, last)) end)
    return table.concat(deltas)
end)

-- ARGV[1]: gateway instance; ARGV[2]: microseconds: everything that it received up to then is applied; ARGV[3]: now.
-- The figures are as old as the slowest gateway's: also a silent one's, until another has had time to take it over.
redis.register_function('parking_pulse', function(keys, args)
    if redis.call('EXISTS', EPOCH) == 0 then return -1 end
    redis.call('HSET', PULSE, args[1], args[2] .. ' ' .. args[3])
    local slowest, pulses = nil, redis.call('HGETALL', PULSE)
    for i = 1, #pulses, 2 do
        local up_to, sent = string.match(pulses[i + 1], '^(%d+) (%d+)$')
        if not sent or tonumber(args[3]) - tonumber(sent) > ABSENT_US then
            redis.call('HDEL', PULSE, pulses[i])
        elseif not slowest or tonumber(up_to) < tonumber(slowest) then
            slowest = up_to
        end
    end
    announce('p', slowest)
    return 1
end)

-- ARGV[1]: the new epoch, also the suffix of the prepared state, which becomes the live one.
-- Refused (0) unless no other rebuild began since: what this one read of history may be older than what gateways applied
-- to the state of another one, and they do not apply it again.
redis.register_function('parking_install', function(keys, args)
    local newest = redis.call('GET', REBUILD) == args[1]
    for _, key in ipairs({SPACES, OCCUPIED, KNOWN}) do
        local prepared = key .. ':' .. args[1]
        if not newest then
            redis.call('DEL', prepared)
        elseif redis.call('EXISTS', prepared) == 1 then
            redis.call('RENAME', prepared, key)
            redis.call('PERSIST', key)
        else
            redis.call('DEL', key)
        end
    end
    if newest then
        redis.call('DEL', REBUILD)
        redis.call('SET', EPOCH, args[1])
        announce('e', args[1])
    end
    return newest and 1 or 0
end)
