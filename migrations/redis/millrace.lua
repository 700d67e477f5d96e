#!lua name=millrace_v1
-- The calls to Redis that must be one step: leases, cursors, dead letters, monotonic puts, control entries.
--
-- The library and every function carry a version in their names, so that two versions can serve side by side while workers
-- are replaced. To change what a released function does, make a `millrace_v2` beside this library.
-- A Redis function does not roll back. Each function therefore checks everything first, and makes every call that can fail
-- before the call that counts. Consumers' functions are `allow-oom`, so that a full log can always be drained.
-- Times are milliseconds of Redis's own clock. The keys have no TTL, so an epoch never starts again.

local LEASE_OWNER, LEASE_EPOCH, LEASE_EXPIRES = 'owner', 'epoch', 'expires'
local POSITION, ENTRIES, IN_FLIGHT = ':position', ':entries', ':in_flight'
-- About the number of dead letters that are kept for each partition. Nothing else bounds the letters of a sender's mistake.
local MOST_LETTERS = 100000

local function refuse(why)
  return redis.error_reply('MILLRACE ' .. why)
end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function whole(number)
  return string.format('%.0f', number)
end

-- Reads a whole number that a Lua double holds exactly. Returns nil for any other text.
local function count(text)
  local number = tonumber(text)
  if number and number >= 0 and number <= 9007199254740992 and number == math.floor(number) then
    return number
  end
  return nil
end

---------------------------------------------------------------------------------------------------------------------
-- Positions. Both halves of a stream id go up to 2^64, which a double does not hold, and `<` on strings follows the locale.
-- Therefore an id is four numbers of ten digits each, which are compared one after the other.

local function position(id)
  local ms, seq = string.match(id, '^(%d+)%-(%d+)$')
  if not ms or #ms > 20 or #seq > 20 then
    return nil
  end
  return {
    tonumber(string.sub(ms, 1, -11)) or 0, tonumber(string.sub(ms, -10)),
    tonumber(string.sub(seq, 1, -11)) or 0, tonumber(string.sub(seq, -10)),
    id = id,
  }
end

-- Returns a negative number if a is before b, 0 if they are equal, and a positive number if a is after b.
local function compare(a, b)
  for i = 1, 4 do
    if a[i] ~= b[i] then
      return a[i] - b[i]
    end
  end
  return 0
end

local function milliseconds(a)
  return a[1] * 10000000000 + a[2]
end

---------------------------------------------------------------------------------------------------------------------
-- Leases. KEYS: the hash with the lease. Owner and epoch together are the token. A token stays valid after its lease has run
-- out, until another owner acquires the lease: no other owner can have written in between.

local function holds(cursor, owner, epoch)
  local lease = redis.call('HMGET', cursor, LEASE_OWNER, LEASE_EPOCH)
  return owner ~= '' and lease[1] == owner and lease[2] == epoch
end

-- ARGV: owner, lease ms. Acquires a lease that is free, has run out, or is this owner's from before a restart.
-- Returns {1, epoch, lease ms, {field, value, …}}, or {0, owner, ms left} where another owner has it.
local function acquire(keys, args)
  local cursor, owner, lease = keys[1], args[1], count(args[2])
  if owner == '' or not lease or lease == 0 then
    return refuse('acquire needs an owner and a lease')
  end
  local now = now_ms()
  local held = redis.call('HMGET', cursor, LEASE_OWNER, LEASE_EXPIRES)
  local left = (tonumber(held[2] or '') or 0) - now
  if held[1] and held[1] ~= '' and held[1] ~= owner and left > 0 then
    return { 0, held[1], left }
  end
  local epoch = redis.call('HINCRBY', cursor, LEASE_EPOCH, 1)
  redis.call('HSET', cursor, LEASE_OWNER, owner, LEASE_EXPIRES, whole(now + lease))
  return { 1, epoch, lease, redis.call('HGETALL', cursor) }
end

-- ARGV: owner, epoch, lease ms. Returns 1, or 0 where another owner has the lease.
local function renew(keys, args)
  local lease = count(args[3])
  if not lease or lease == 0 then
    return refuse('renew needs a lease')
  end
  if not holds(keys[1], args[1], args[2]) then
    return 0
  end
  redis.call('HSET', keys[1], LEASE_EXPIRES, whole(now_ms() + lease))
  return 1
end

-- ARGV: owner, epoch. Returns 1, or 0 where another owner has the lease. The epoch and all other fields stay.
local function release(keys, args)
  if not holds(keys[1], args[1], args[2]) then
    return 0
  end
  redis.call('HSET', keys[1], LEASE_OWNER, '', LEASE_EXPIRES, '0')
  return 1
end

---------------------------------------------------------------------------------------------------------------------
-- Cursors. A group is as far as its slowest sink.

-- Returns {position, entries read} of each named sink (comma-separated) of a cursor.
local function sinks_of(cursor, names)
  local sinks = {}
  for name in string.gmatch(names, '[^,]+') do
    local stored = redis.call('HMGET', cursor, name .. POSITION, name .. ENTRIES)
    sinks[name] = { position = position(stored[1] or '0-0'), entries = stored[2] or '0' }
  end
  return sinks
end

local function least(sinks, so_far)
  for _, sink in pairs(sinks) do
    if not so_far or compare(sink.position, so_far.position) < 0 then
      so_far = sink
    end
  end
  return so_far
end

-- Returns nil where this token may act on the sink from that position; otherwise the reply that says why not.
local function stale(cursor, owner, epoch, sink, from)
  if not holds(cursor, owner, epoch) then
    return { 'fenced' }
  end
  local stored = redis.call('HGET', cursor, sink .. POSITION) or '0-0'
  if compare(position(stored), from) ~= 0 then
    return { 'moved', stored }
  end
  return nil
end

-- KEYS: cursor. ARGV: owner, epoch, sink, from, the record of the batch in flight.
-- Called before the batch is sent, so that the next owner knows which rows may have arrived.
local function intend(keys, args)
  local cursor, sink, from = keys[1], args[3], position(args[4])
  if not from or sink == '' or args[5] == '' then
    return refuse('intend needs a sink, a position and a payload')
  end
  local why = stale(cursor, args[1], args[2], sink, from)
  if why then
    return why
  end
  redis.call('HSET', cursor, sink .. IN_FLIGHT, args[5])
  return { 'ok' }
end

-- Reads the dead letters from args[first] on. Each is its number of strings, then its fields and values in turn.
local function letters_from(args, first)
  local letters, at = {}, first
  while at <= #args do
    local n = count(args[at])
    if not n or n < 2 or n > 1000 or n % 2 == 1 or at + n > #args then
      return nil
    end
    letters[#letters + 1] = { at + 1, at + n }
    at = at + n + 1
  end
  return letters
end

-- KEYS: cursor, events, dead, then the other groups' cursors of this partition.
-- ARGV: owner, epoch, group, sink, from, to, entries between, trim to (or ''), guard ms,
--       the sinks that read events for KEYS[1], the same for each further cursor, then dead letters.
-- Returns {'ok'}, {'fenced'} or {'moved', the sink's position}.
local function advance(keys, args)
  local cursor, events, dead = keys[1], keys[2], keys[3]
  local group, sink = args[3], args[4]
  local from, to, read = position(args[5]), position(args[6]), count(args[7])
  local trim, guard = args[8], count(args[9])
  local first_letter = 10 + 1 + (#keys - 3)
  local letters = letters_from(args, first_letter)
  if not from or not to or compare(to, from) <= 0 then
    return refuse('advance goes forward, from one position to another')
  end
  if sink == '' or not read or not guard or not letters or #args < first_letter - 1 then
    return refuse('advance is malformed')
  end
  if trim ~= '' and not position(trim) then
    return refuse('advance trims to a position')
  end
  local why = stale(cursor, args[1], args[2], sink, from)
  if why then
    return why
  end

  local entries = whole(sinks_of(cursor, sink)[sink].entries + read)
  local own = sinks_of(cursor, args[10])
  if own[sink] then
    -- Never trims past the position of any sink of any group before this call, less the time that a resend may still need.
    if trim ~= '' then
      local slowest = least(own)
      for i = 4, #keys do
        slowest = least(sinks_of(keys[i], args[7 + i]), slowest)
      end
      local limit = milliseconds(slowest.position) - guard
      if limit > 0 then
        local bound = position(whole(limit) .. '-0')
        local wanted = position(trim)
        redis.call('XTRIM', events, 'MINID', '~', compare(wanted, bound) < 0 and wanted.id or bound.id)
      end
    end
    own[sink] = { position = to, entries = entries }
    local group_at = least(own)
    redis.call('XGROUP', 'SETID', events, group, group_at.position.id, 'ENTRIESREAD', group_at.entries)
  end
  -- Only the first of these calls can fail, if the key is not a stream. Then nothing has been appended.
  for _, letter in ipairs(letters) do
    redis.call('XADD', dead, 'MAXLEN', '~', MOST_LETTERS, '*', unpack(args, letter[1], letter[2]))
  end

  redis.call('HSET', cursor, sink .. POSITION, to.id, sink .. ENTRIES, entries)
  redis.call('HDEL', cursor, sink .. IN_FLIGHT)
  return { 'ok' }
end

---------------------------------------------------------------------------------------------------------------------
-- Slots. A value begins with codec (1 byte), generation (4), milliseconds (8), sequence (8), big-endian.

local CODEC, HEADER_BYTES, HEADER = 1, 21, '>BI4I4I4I4I4'
local WRITTEN, EQUAL, REFUSED, UNDECODABLE, NO_HASH = 1, 0, -1, -2, -3
local CHUNK = 4000

-- Returns the fate of a put of `new` over `old`. A double holds 53 bits, so eight bytes are compared in two halves.
local function fate(old, new)
  if #old < HEADER_BYTES or string.byte(old) ~= CODEC then
    return UNDECODABLE
  end
  local _, a1, a2, a3, a4, a5 = struct.unpack(HEADER, old)
  local _, b1, b2, b3, b4, b5 = struct.unpack(HEADER, new)
  local step = b1 - a1
  if step == 0 then step = b2 - a2 end
  if step == 0 then step = b3 - a3 end
  if step == 0 then step = b4 - a4 end
  if step == 0 then step = b5 - a5 end
  if step > 0 then return WRITTEN end
  if step == 0 then return EQUAL end
  return REFUSED
end

local function is_slot(value)
  return #value >= HEADER_BYTES and string.byte(value) == CODEC
end

-- Sets the expiry of a hash after a write, in ms. 0: it never expires.
local function keep(key, expire)
  if expire > 0 then
    redis.call('PEXPIRE', key, whole(expire))
  else
    redis.call('PERSIST', key)
  end
end

-- KEYS: entity. ARGV: ms until it expires after this put (0: never), the number of fields, then each field and its value.
-- Returns for each field: 1 written, 0 it holds this checkpoint already, -1 it holds a later one, -2 it does not hold a slot.
local function put(keys, args)
  local key, n = keys[1], #args
  local expire = count(args[1])
  if not expire or n < 4 or n ~= 2 + 2 * (count(args[2]) or 0) then
    return refuse('put needs an expiry, a number of fields, and field and value of each')
  end
  for i = 4, n, 2 do
    if not is_slot(args[i]) then
      return refuse('put was given a value that is not a slot')
    end
  end

  local fates, any = {}, false
  if n == 4 then
    local old = redis.call('HGET', key, args[3])
    local code = old and fate(old, args[4]) or WRITTEN
    fates[1] = code
    if code == WRITTEN then
      redis.call('HSET', key, args[3], args[4])
      any = true
    end
  else
    local fields, stored, pairs_to_write = {}, {}, {}
    for i = 3, n, 2 do
      fields[#fields + 1] = args[i]
    end
    for i = 1, #fields, CHUNK do
      local part = redis.call('HMGET', key, unpack(fields, i, math.min(i + CHUNK - 1, #fields)))
      for j = 1, #part do
        stored[i + j - 1] = part[j]
      end
    end
    for i = 1, #fields do
      local new = args[i * 2 + 2]
      local code = stored[i] and fate(stored[i], new) or WRITTEN
      fates[i] = code
      if code == WRITTEN then
        pairs_to_write[#pairs_to_write + 1] = fields[i]
        pairs_to_write[#pairs_to_write + 1] = new
      end
    end
    for i = 1, #pairs_to_write, CHUNK do
      redis.call('HSET', key, unpack(pairs_to_write, i, math.min(i + CHUNK - 1, #pairs_to_write)))
      any = true
    end
  end

  if any then
    keep(key, expire)
  end
  return fates
end

-- Puts one field of many entities. A call costs more than its work for one key, so keys share calls. The callers bound the
-- number and bytes of the keys, because Redis serves no other call meanwhile.
-- KEYS: entities. ARGV: ms until the written ones expire (0: never), field, then the slot of each key.
-- Returns for each key the same as `put` for a field, and -3 where the key is not a hash, which does not affect other keys.
local function put_each(keys, args)
  local expire, field, n = count(args[1] or ''), args[2], #keys
  if not expire or n == 0 or n > CHUNK or #args ~= n + 2 then
    return refuse('put_each needs an expiry, a field and the slot of each key')
  end
  for i = 3, #args do
    if not is_slot(args[i]) then
      return refuse('put_each was given a value that is not a slot')
    end
  end

  local call, pcall, sub, type = redis.call, redis.pcall, string.sub, type
  -- If none of the keys exists, there is nothing to compare and no expiry to remove. A key that comes twice exists the second
  -- time, which HSETNX notices.
  local fresh = expire == 0 and call('EXISTS', unpack(keys)) == 0
  -- Neighbours mostly replace the same checkpoint by the same new one.
  local old_header, new_header, known
  local fates = {}
  for i = 1, n do
    local key, new, code = keys[i], args[i + 2], WRITTEN
    if not fresh or call('HSETNX', key, field, new) == 0 then
      local old = pcall('HGET', key, field)
      if type(old) == 'table' then
        if not string.find(old.err, '^WRONGTYPE') then
          return old
        end
        code = NO_HASH
      elseif old then
        local was, is = sub(old, 1, HEADER_BYTES), sub(new, 1, HEADER_BYTES)
        if was ~= old_header or is ~= new_header then
          old_header, new_header, known = was, is, fate(was, is)
        end
        code = known
      end
      if code == WRITTEN then
        call('HSET', key, field, new)
        keep(key, expire)
      end
    end
    fates[i] = code
  end
  return fates
end

---------------------------------------------------------------------------------------------------------------------
-- Definitions. KEYS: events, versions. ARGV: version, engine, then the fields of the control entry.
-- Returns {'ok', position} (also where that version is in force already) or {'gap', the latest version}.
local function control(keys, args)
  local events, versions = keys[1], keys[2]
  local version, engine = count(args[1]), count(args[2])
  if not version or version == 0 or not engine or #args < 4 or #args % 2 == 1 then
    return refuse('control needs a version, an engine and fields')
  end
  local row = redis.call('HGET', versions, whole(version))
  if row then
    local at, known = string.match(row, '^(%S+) (%d+)$')
    if known ~= whole(engine) then
      return refuse('definitions ' .. args[1] .. ' are in force here with engine ' .. tostring(known))
    end
    return { 'ok', at }
  end
  local latest = redis.call('HLEN', versions)
  if version ~= latest + 1 then
    return { 'gap', latest }
  end
  local at = redis.call('XADD', events, '*', unpack(args, 3))
  redis.call('HSET', versions, whole(version), at .. ' ' .. whole(engine))
  return { 'ok', at }
end

---------------------------------------------------------------------------------------------------------------------
-- Jobs. A job's hash holds its lease and the results of its runs. A run is an epoch of the lease, so its number only grows, and
-- owner and number are its token. `running` has begun and not ended. Readers count from `completed`. `first_as_of` is the
-- instant of the first run. `outcome` is how the last run ended that was not told to stop. `settled` is the latest instant for
-- which a run has ended, in success or not. It is never past now, because no tick would come after it.

-- How far the clock of a machine that runs jobs may be ahead of Redis's, in ms.
local CLOCKS_APART = 60000
local OUTCOMES = { succeeded = true, failed = true, interrupted = true }

-- KEYS: job, runs. ARGV: owner, run, as of, the number of records that are kept.
-- Returns 1, or 0 where another owner has the lease. An earlier run that never ended is recorded as abandoned.
local function job_begin(keys, args)
  local job, runs, run = keys[1], keys[2], args[2]
  local as_of, keep = count(args[3]), count(args[4])
  if not as_of or not keep or keep == 0 then
    return refuse('job_begin needs an instant and a number of records')
  end
  if not holds(job, args[1], run) then
    return 0
  end
  local left = redis.call('HMGET', job, 'running', 'running_as_of', 'running_since')
  if left[1] and left[1] ~= run then
    redis.call('XADD', runs, 'MAXLEN', '~', whole(keep), '*',
      'run', left[1], 'as_of', left[2], 'started', left[3], 'outcome', 'abandoned')
    redis.call('HSET', job, 'outcome', 'abandoned')
  end
  redis.call('HSETNX', job, 'first_as_of', whole(as_of))
  redis.call('HSET', job, 'running', run, 'running_as_of', whole(as_of), 'running_since', whole(now_ms()))
  return 1
end

-- KEYS: job, runs, failed keys. ARGV: owner, run, outcome, the number of records that are kept, the ms that failed keys are
-- kept, rows, written, written before, failed, reason, then each failed key and its reason.
-- Returns 1 (also where the run was recorded before), or 0 where another owner has the lease.
local function job_finish(keys, args)
  local job, runs, failed_keys = keys[1], keys[2], keys[3]
  local run, outcome, keep, keep_ms = args[2], args[3], count(args[4]), count(args[5])
  local rows = count(args[6])
  if not OUTCOMES[outcome] or not keep or keep == 0 or not keep_ms or not rows or #args < 10 or #args % 2 == 1 then
    return refuse('job_finish is malformed')
  end
  if #args > 10 + CHUNK then
    return refuse('job_finish was given too many failed keys')
  end
  local stored = redis.call('HMGET', job, 'finished', 'running', 'running_as_of', 'running_since', 'settled')
  if stored[1] == run then
    return 1
  end
  if not holds(job, args[1], run) then
    return 0
  end
  if stored[2] ~= run then
    return refuse('job_finish ends a run that has begun')
  end

  local clock, as_of = now_ms(), stored[3]
  local now = whole(clock)
  if #args > 10 then
    redis.call('HSET', failed_keys, unpack(args, 11))
    redis.call('PEXPIRE', failed_keys, whole(keep_ms))
  end
  redis.call('XADD', runs, 'MAXLEN', '~', whole(keep), '*',
    'run', run, 'as_of', as_of, 'started', stored[4], 'ended', now, 'outcome', outcome,
    'rows', args[6], 'written', args[7], 'already', args[8], 'failed', args[9], 'reason', args[10])
  local fields = { 'finished', run }
  if outcome == 'succeeded' then
    for _, value in ipairs({ 'completed', run, 'completed_as_of', as_of, 'completed_at', now, 'completed_rows', args[6] }) do
      fields[#fields + 1] = value
    end
  end
  if outcome ~= 'interrupted' then
    fields[#fields + 1] = 'outcome'
    fields[#fields + 1] = outcome
    local latest = math.max(tonumber(as_of), tonumber(stored[5] or '') or 0)
    fields[#fields + 1] = 'settled'
    fields[#fields + 1] = whole(math.min(latest, clock + CLOCKS_APART))
  end
  redis.call('HDEL', job, 'running', 'running_as_of', 'running_since')
  redis.call('HSET', job, unpack(fields))
  return 1
end

---------------------------------------------------------------------------------------------------------------------
-- Members. KEYS: workers. ARGV: id, ttl ms. Returns the ids that are alive, including this one.
local function heartbeat(keys, args)
  local ttl = count(args[2])
  if args[1] == '' or not ttl or ttl == 0 then
    return refuse('heartbeat needs an id and a time to live')
  end
  local now = now_ms()
  redis.call('ZREMRANGEBYSCORE', keys[1], '-inf', whole(now))
  redis.call('ZADD', keys[1], whole(now + ttl), args[1])
  return redis.call('ZRANGE', keys[1], 0, -1)
end

-- KEYS: workers. ARGV: id.
local function leave(keys, args)
  return redis.call('ZREM', keys[1], args[1])
end

---------------------------------------------------------------------------------------------------------------------
-- Every new connection to the log calls this before anything else. The replication-id rule belongs here (DESIGN §2, "A store
-- that lost its tail"). For now it returns Redis's clock in milliseconds and changes nothing.
local function fence(_, _)
  return now_ms()
end

local function register(name, callback, flags)
  redis.register_function { function_name = 'millrace_v1_' .. name, callback = callback, flags = flags }
end

register('acquire', acquire, { 'allow-oom' })
register('renew', renew, { 'allow-oom' })
register('release', release, { 'allow-oom' })
register('intend', intend, { 'allow-oom' })
register('advance', advance, { 'allow-oom' })
register('put', put, { 'allow-oom' })
register('put_each', put_each, { 'allow-oom' })
register('job_begin', job_begin, { 'allow-oom' })
register('job_finish', job_finish, { 'allow-oom' })
register('heartbeat', heartbeat, { 'allow-oom' })
register('leave', leave, { 'allow-oom' })
register('fence', fence, { 'allow-oom' })
-- Called by an operator, and it adds to the log: Redis refuses it at the memory limit, like any append.
register('control', control, {})
