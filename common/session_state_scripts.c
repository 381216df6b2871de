/* session_state_scripts.c - the Lua of session_state; keys are explained in session_state.h
 *
 * A script that fails midway leaves what it did before. So whatever may be refused for the whole server (out of memory, a
 * replica, a disk that is full) is met by the first write of a script, where nothing has been done yet, and what may be
 * wrong with one key (redis.pcall) only costs the write that touches it. */
#include "session_state_scripts.h"

#include "session_state.h"

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

/* clang-format off */
#define LUA_LOG \
	"local log = 'roost:mqtt:log:' .. ARGV[1] " \
	"local have = redis.call('HMGET', log, 'l', 's') "

/* Numbers of 64 bits do not fit into Lua's: lives are compared as text. */
#define LUA_FENCE \
	"local life = ARGV[2] " \
	"if have[1] and (#have[1] > #life or (#have[1] == #life and have[1] > life)) then " \
	"return redis.error_reply('FENCED by a newer life') end " \
	"if have[1] ~= life then return redis.error_reply('LOST the log of this worker') end "

static const char begin_script[] = LUA_LOG
	"local life = ARGV[2] "
	"if have[1] and (#have[1] > #life or (#have[1] == #life and have[1] > life)) then return {3, 0} end "
	"if ARGV[4] == '1' and have[1] == life and tonumber(have[2]) >= tonumber(ARGV[3]) and "
	"tonumber(redis.call('GET', 'roost:mqtt:epoch') or '0') >= tonumber(ARGV[5]) then "
	"return {1, tonumber(have[2])} end "
	"redis.call('DEL', log) "
	"redis.call('HSET', log, 'l', life, 's', '0') "
	"if ARGV[4] == '1' then return {2, 0} end "
	"return {0, 0}";

static const char batch_script[] = LUA_LOG LUA_FENCE
	"local number, last = tonumber(ARGV[3]), tonumber(have[2]) "
	"if number <= last then return redis.call('HGET', log, 'r' .. ARGV[3]) or '' end "
	"if number ~= last + 1 then return redis.error_reply('GAP before this batch') end "
	/* Out of memory: what grows is refused (h is nil), what frees is not. Once a script has written, Redis asks no more. */
	"local first = redis.pcall('HSET', log, 's', ARGV[3]) "
	"local full = type(first) == 'table' "
	"if full then "
	"if not string.find(first.err, 'OOM', 1, true) then return first end "
	"redis.call('HDEL', log, '-') "
	"redis.call('HSET', log, 's', ARGV[3]) end "
	"local grows = full and {" OP_ENQUEUE "=1, " OP_SUBSCRIBE "=1, " OP_INCOMING "=1, " OP_CLAIMED_WILL "=1, "
	OP_WILL "=1, " OP_RETAIN "=1, " OP_SESSION_ORIGIN "=1} "
	"local ARGV, call, top = ARGV, redis.pcall, #ARGV "
	"local at, i = -1, 5 "
	"for _ = 1, tonumber(ARGV[4]) do call('HDEL', log, 'r' .. ARGV[i]) i = i + 1 end "
	"local S, B, Q = 'roost:mqtt:session:', 'roost:mqtt:subs:', 'roost:mqtt:queue:' "
	"local I, O, H = 'roost:mqtt:in2:', 'roost:mqtt:out2:', 'roost:mqtt:had:' "
	"local wills = 'roost:mqtt:wills:' .. ARGV[1] "
	"local seen, results, message = {}, {}, '' "
	/* [epoch, away, expiry, other keys that it may have, key of the queue] of the session as it is; false if it has another epoch. */
	"local function mine(id, epoch) "
	"local h = seen[id] "
	"if not h then h = call('HMGET', S .. id, 'e', 'a', 'x', 'k') h[5] = Q .. id seen[id] = h end "
	"return h[1] == epoch and h end "
	/* By Redis's clock, not by the workers': it is a safety net. */
	"local function ttl(expiry) return string.format('%.0f', tonumber(expiry) + " TEXT(SESSION_STATE_TTL_MARGIN_S) ") end "
	"local names = {B = B, Q = Q, I = I, O = O, H = H} "
	"local function each(command, id, keys, ...) "
	"call(command, S .. id, ...) "
	"for name in string.gmatch(keys or 'BQIOH', '.') do if names[name] then call(command, names[name] .. id, ...) end end end "
	/* Another key is in the session's k before it is made, so that coming and going asks for those only that there are. */
	"local function has(id, h, name) "
	"if not h[4] or string.find(h[4], name, 1, true) then return end "
	"local r = call('HSET', S .. id, 'k', h[4] .. name) "
	"if type(r) == 'table' then return r end "
	"h[4] = h[4] .. name end "

	"while i <= top do "
	"local op, id, r, h = ARGV[i], ARGV[i + 1], nil, true "
	"at = at + 1 "
	"if op >= 'a' then h = mine(id, ARGV[i + 2]) end "
	"if h and full and grows[op] then h = nil end "
	"if op == '" OP_MESSAGE "' then message = id at = at - 1 i = i + 2 "
	"elseif op == '" OP_ENQUEUE "' then "
	"if h then r = has(id, h, 'Q') "
	"if not r then r = call('XADD', h[5], ARGV[i + 3], 'h', ARGV[i + 4], 'm', message) "
	"if h[2] ~= '0' and h[3] ~= '4294967295' then call('EXPIRE', h[5], ttl(h[3])) end end end "
	"i = i + 5 "
	"elseif op == '" OP_ACKED "' then if h then r = call('XDEL', h[5], ARGV[i + 3]) end i = i + 4 "
	"elseif op == '" OP_PUBREC "' then "
	"if h then call('XDEL', h[5], ARGV[i + 3]) r = has(id, h, 'O') or call('SADD', O .. id, ARGV[i + 3]) end i = i + 4 "
	"elseif op == '" OP_PUBCOMP "' then if h then r = call('SREM', O .. id, ARGV[i + 3]) end i = i + 4 "
	"elseif op == '" OP_SENT "' then if h then r = call('HSET', S .. id, 's', ARGV[i + 3]) end i = i + 4 "
	"elseif op == '" OP_INCOMING "' then "
	"if h then r = has(id, h, 'I') or call('HSET', I .. id, ARGV[i + 3], ARGV[i + 4]) end i = i + 5 "
	"elseif op == '" OP_INCOMING_DONE "' then if h then r = call('HDEL', I .. id, ARGV[i + 3]) end i = i + 4 "
	"elseif op == '" OP_RETAIN "' then "
	"if h then r = call('INCR', 'roost:mqtt:retained_seq') "
	"if type(r) == 'number' then "
	"local s = call('HSET', 'roost:mqtt:retained', id, string.format('%.0f', r) .. ':' .. ARGV[i + 2]) "
	"if type(s) == 'table' then r = s end end end "
	"if type(r) == 'number' then results[#results + 1] = at .. ' ' .. string.format('%.0f', r) end "
	"i = i + 3 "
	"elseif op == '" OP_UNRETAIN "' then "
	"r = call('INCR', 'roost:mqtt:retained_seq') "
	"if type(r) == 'number' then local s = call('HDEL', 'roost:mqtt:retained', id) if type(s) == 'table' then r = s end end "
	"if type(r) == 'number' then results[#results + 1] = at .. ' ' .. string.format('%.0f', r) end "
	"i = i + 2 "
	"elseif op == '" OP_EXPIRED "' then "
	"local s = call('HGET', 'roost:mqtt:retained', id) "
	"if type(s) == 'string' and string.sub(s, 1, #ARGV[i + 2] + 1) == ARGV[i + 2] .. ':' then "
	"r = call('HDEL', 'roost:mqtt:retained', id) end "
	"i = i + 3 "
	"elseif op == '" OP_SUBSCRIBE "' then "
	"if h then r = has(id, h, 'B') or call('HSET', B .. id, ARGV[i + 3], ARGV[i + 4]) end i = i + 5 "
	"elseif op == '" OP_UNSUBSCRIBE "' then if h then r = call('HDEL', B .. id, ARGV[i + 3]) end i = i + 4 "
	"elseif op == '" OP_AWAY "' then "
	"if h then r = call('HSET', S .. id, 'x', ARGV[i + 3], 'a', ARGV[i + 4]) seen[id] = nil "
	"if ARGV[i + 3] ~= '4294967295' then each('EXPIRE', id, h[4], ttl(ARGV[i + 3])) "
	"else each('PERSIST', id, h[4]) end end "
	"i = i + 5 "
	"elseif op == '" OP_BACK "' then "
	"if h then r = call('HSET', S .. id, 'x', ARGV[i + 3], 'a', '0') seen[id] = nil each('PERSIST', id, h[4]) end i = i + 4 "
	"elseif op == '" OP_ENDED "' then "
	"if h then each('DEL', id) r = call('SREM', 'roost:mqtt:owned:' .. ARGV[1], id) seen[id] = nil end i = i + 3 "
	"elseif op == '" OP_CLAIMED_WILL "' then if h then r = call('HSET', wills, id, ARGV[i + 3]) end i = i + 4 "
	"elseif op == '" OP_WILL "' then if h then r = call('HSET', wills, id, ARGV[i + 2]) end i = i + 3 "
	"elseif op == '" OP_NO_WILL "' then r = call('HDEL', wills, id) i = i + 2 "
	"elseif op == '" OP_FORWARD "' then r = call('HSET', 'roost:mqtt:forwards:' .. ARGV[1], id, ARGV[i + 2]) i = i + 3 "
	"elseif op == '" OP_SESSION_ORIGIN "' then "
	"if h then r = has(id, h, 'H') or call('HSET', H .. id, ARGV[i + 3], ARGV[i + 4]) "
	"if h[2] ~= '0' and h[3] ~= '4294967295' then call('EXPIRE', H .. id, ttl(h[3])) end end "
	"i = i + 5 "
	"else if h then r = call('HDEL', H .. id, ARGV[i + 3]) end i = i + 4 end "
	"if h == nil then results[#results + 1] = at .. ' -2' "
	"elseif not h then results[#results + 1] = at .. ' 0' "
	"elseif type(r) == 'table' then results[#results + 1] = at .. ' -1' end "
	"end "
	"if #results == 0 then return '' end "
	"local text = table.concat(results, ' ') "
	"call('HSET', log, 'r' .. ARGV[3], text) "
	"return text";

static const char claim_script[] = LUA_LOG LUA_FENCE
	"local worker, id, expiry, now = ARGV[1], ARGV[3], ARGV[5], tonumber(ARGV[6]) "
	"local key = 'roost:mqtt:session:' .. id "
	"local B, Q = 'roost:mqtt:subs:' .. id, 'roost:mqtt:queue:' .. id "
	"local I, O, H = 'roost:mqtt:in2:' .. id, 'roost:mqtt:out2:' .. id, 'roost:mqtt:had:' .. id "
	/* What is no session (another type) is none. */
	"local h = redis.pcall('HMGET', key, 'e', 'o', 'l', 'x', 'a', 's') "
	"if h.err then h = {} end "
	"if ARGV[7] ~= '' and h[2] ~= ARGV[7] then return {0} end "
	"local present = h[1] and ARGV[4] == '0' and h[4] ~= '0' "
	"if present and h[5] ~= '0' and h[4] ~= '4294967295' then "
	"present = now <= (tonumber(h[5]) or 0) + 1000 * (tonumber(h[4]) or 0) end "
	"local epoch = redis.call('INCR', 'roost:mqtt:epoch') "
	"if h[2] then "
	"redis.call('SREM', 'roost:mqtt:owned:' .. h[2], id) "
	"redis.call('HDEL', 'roost:mqtt:wills:' .. h[2], id) end "
	"if not present then redis.call('DEL', key, B, Q, I, O, H) "
	"else for _, k in ipairs({key, B, Q, I, O, H}) do redis.call('PERSIST', k) end end "
	"local names, has = '', {B = B, Q = Q, I = I, O = O, H = H} "
	"for name, k in pairs(present and has or {}) do if redis.call('EXISTS', k) == 1 then names = names .. name end end "
	"redis.call('HSET', key, 'e', string.format('%.0f', epoch), 'o', worker, 'l', life, 'x', expiry, 'a', '0', 'k', names) "
	"redis.call('SADD', 'roost:mqtt:owned:' .. worker, id) "
	"if not present then return {epoch, h[2] or '', h[3] or '0', 0} end "
	"local top = '0' "
	"if string.find(names, 'Q', 1, true) then "
	"local info = redis.call('XINFO', 'STREAM', Q) "
	"for i = 1, #info, 2 do if info[i] == 'last-generated-id' then top = string.match(info[i + 1], '^%d+') end end end "
	"return {epoch, h[2] or '', h[3] or '0', 1, h[6] or '0', top, redis.call('HLEN', B), redis.call('XLEN', Q), "
	"redis.call('HLEN', I), redis.call('SCARD', O)}";

static const char owned_script[] =
	"local owned = 'roost:mqtt:owned:' .. ARGV[1] "
	"local page = redis.call('SSCAN', owned, ARGV[2], 'COUNT', ARGV[3]) "
	"local out = {page[1]} "
	"for _, id in ipairs(page[2]) do "
	"local h = redis.pcall('HMGET', 'roost:mqtt:session:' .. id, 'o', 'e', 'l', 'x', 'a') "
	"if h[1] == ARGV[1] then "
	"out[#out + 1] = id for i = 2, 5 do out[#out + 1] = h[i] or '0' end "
	"else redis.call('SREM', owned, id) end end "
	"return out";

/* Redis says nothing that is longer than what its connection takes. */
static const char page_script[] =
	"local most, command, key, from = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4] "
	"local function bound(values) "
	"for i = 2, #values, 2 do if #values[i] > most then values[i] = '" SESSION_LEFT_OUT "' .. #values[i] end end end "
	"local page "
	"if command == 'XRANGE' then "
	"page = redis.call(command, key, from, '+', 'COUNT', ARGV[5]) "
	"for _, entry in ipairs(page) do bound(entry[2]) end "
	"else "
	"page = redis.call(command, key, from, 'COUNT', ARGV[5]) "
	"bound(page[2]) end "
	"return page";
/* clang-format on */

const char *const session_scripts[SCRIPT_COUNT] = {
	[SCRIPT_BEGIN] = begin_script,
	[SCRIPT_BATCH] = batch_script,
	[SCRIPT_CLAIM] = claim_script,
	[SCRIPT_OWNED] = owned_script,
	[SCRIPT_PAGE] = page_script,
};
