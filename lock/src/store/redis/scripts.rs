//! What the server does in one step each: take or join, release to the head, renew, draw a token, leave.
//!
//! Keys of a lock: `…{NAME}:held`, owner and token with the lease as its time to live; `…{NAME}:sharers`, the
//! owners who hold it together with the end of each one's lease as its score; `…{NAME}:queue`, a list of owners.
//! Keys of a waiter: its sign of life, holding the length of its lease and its room, and the list on which it is woken.

use std::time::Duration;

use redis::{Script, ScriptInvocation, Value};

use crate::error::StoreError;

/// `KEYS`: held, queue, tokens, sharers. ARGV: owner, room (-1 alone, 0 any number, else so many).
const NAMES: &str = r"
local held, queue, tokens, sharers = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local me, room = ARGV[1], tonumber(ARGV[2])
";

/// Numbers beyond 2^53 do not occur: microseconds reach it in the year 2255.
const GRANT: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local ms = math.floor(now / 1000)
local function grant(owner, lease, room)
  local last = tonumber(redis.call('GET', tokens) or '0')
  local token = string.format('%.0f', math.max(last + 1, now))
  redis.call('SET', tokens, token)
  if room < 0 then
    redis.call('SET', held, owner .. ' ' .. token, 'PX', lease)
  else
    redis.call('ZADD', sharers, ms + lease, owner)
    if redis.call('PTTL', sharers) < lease then redis.call('PEXPIRE', sharers, lease) end
  end
  return token
end
";

/// Shared functions.
const COMMON: &str = r"
local function alive(owner) return 'trimtab:lock:alive:' .. owner end
local function wake(owner) return 'trimtab:lock:wake:' .. owner end
local function forced(owner) return 'trimtab:lock:forced:' .. owner end
local function holder()
  local value = redis.call('GET', held)
  if value then return string.match(value, '(%S+) (%S+)') end
end
local function shares(owner)
  local score = redis.call('ZSCORE', sharers, owner)
  return score and tonumber(score) > ms
end
local function fits(room)
  if room == 0 or redis.call('EXISTS', sharers) == 0 then return true end
  redis.call('ZREMRANGEBYSCORE', sharers, '-inf', ms)
  local count = redis.call('ZCARD', sharers)
  if room < 0 then return count == 0 end
  return count < room
end
local function serve()
  local mine
  while redis.call('EXISTS', held) == 0 do
    local owner = redis.call('LINDEX', queue, 0)
    if not owner then break end
    local left = redis.call('PTTL', alive(owner))
    if left <= 0 then
      redis.call('LPOP', queue)
    else
      local lease, room = string.match(redis.call('GET', alive(owner)), '(%d+) (-?%d+)')
      lease, room = tonumber(lease), tonumber(room)
      if not fits(room) then break end
      redis.call('LPOP', queue)
      local token = grant(owner, math.min(left, lease), room)
      if owner == me then
        mine = token
      else
        redis.call('RPUSH', wake(owner), token)
        redis.call('PEXPIRE', wake(owner), 60000)
      end
    end
  end
  return mine
end
local function give_back()
  local ours
  if room < 0 then
    ours = holder() == me
    if ours then redis.call('DEL', held) end
  else
    ours = shares(me)
    redis.call('ZREM', sharers, me)
  end
  if ours then return 1 end
  if redis.call('EXISTS', forced(me)) == 1 then return -1 end
  return 0
end
";

/// Where nobody holds or waits, which is what most questions find, nothing else is to be known.
const TAKE_FREE: &str = r"
if redis.call('EXISTS', held, queue, sharers) == 0 then return {grant(me, tonumber(ARGV[3]), room), 1} end
";

/// ARGV further: lease, time as alive (0: does not wait). Answers `[token, 1 if full]` or the time left to the holder.
const TAKE: &str = r"
local lease, life = tonumber(ARGV[3]), tonumber(ARGV[4])
local owner, token = holder()
if owner == me then
  redis.call('PEXPIRE', held, lease)
  return {token, 1}
end
if room >= 0 and shares(me) then return {grant(me, lease, room), 1} end
if not owner and redis.call('LLEN', queue) == 0 and fits(room) then return {grant(me, lease, room), 1} end
if life > 0 then
  redis.call('SET', alive(me), lease .. ' ' .. room, 'PX', life)
  if not redis.call('LPOS', queue, me) then redis.call('RPUSH', queue, me) end
  redis.call('PEXPIRE', queue, 600000)
end
token = serve()
if token then return {token, 0} end
if redis.call('EXISTS', held) == 0 and redis.call('LLEN', queue) == 0 and fits(room) then
  return {grant(me, lease, room), 1}
end
local left = redis.call('PTTL', held)
if left < 0 then
  local first = redis.call('ZRANGE', sharers, 0, 0, 'WITHSCORES')
  left = first[2] and tonumber(first[2]) - ms or 0
end
return math.max(left, 0)
";

/// What was held alone, and nobody waits for.
const RELEASE_UNWANTED: &str = r"
if room < 0 and redis.call('EXISTS', queue) == 0 then
  local value = redis.call('GET', held)
  if value and string.sub(value, 1, #me + 1) == me .. ' ' then
    redis.call('DEL', held)
    return 1
  end
end
";

/// 1 when it was ours, -1 when an operator took it, else 0.
const RELEASE: &str = r"
local ours = give_back()
if ours == 1 then serve() end
return ours
";

/// Leaves nothing of a question behind, whatever became of it.
const LEAVE: &str = r"
redis.call('LREM', queue, 0, me)
redis.call('DEL', alive(me), wake(me))
local ours = give_back()
serve()
return ours
";

/// ARGV further: lease. 1 when it was ours, -1 when an operator took it, else 0.
const RENEW: &str = r"
local lease = tonumber(ARGV[3])
if room < 0 and holder() == me then
  redis.call('PEXPIRE', held, lease)
  return 1
end
if room >= 0 and shares(me) then
  redis.call('ZADD', sharers, ms + lease, me)
  if redis.call('PTTL', sharers) < lease then redis.call('PEXPIRE', sharers, lease) end
  return 1
end
if redis.call('EXISTS', forced(me)) == 1 then return -1 end
return 0
";

/// ARGV further: lease. The next token under the same hold of one alone.
const TOKEN: &str = r"
if holder() ~= me then return false end
return grant(me, tonumber(ARGV[3]), -1)
";

/// Takes it from all who hold it, leaves word for them, and serves who waits. How many they were.
const FORCE: &str = r"
local owners = redis.call('ZRANGEBYSCORE', sharers, '(' .. ms, '+inf')
local owner = holder()
if owner then table.insert(owners, owner) end
for _, owner in ipairs(owners) do redis.call('SET', forced(owner), '1', 'PX', 7200000) end
redis.call('DEL', held, sharers)
serve()
return #owners
";

pub(super) struct Scripts {
    take: Script,
    release: Script,
    leave: Script,
    renew: Script,
    token: Script,
    force: Script,
}

/// What became of a question.
pub(super) enum Took {
    /// Ours. Under the whole lease, or only as long as our sign of life.
    Granted { token: u64, alive_only: bool },
    /// Somebody else's, for so long unless it is renewed.
    Busy { left: Duration },
}

impl Scripts {
    pub(super) fn new() -> Self {
        let script = |parts: &[&str]| Script::new(&parts.concat());
        let take = script(&[NAMES, GRANT, TAKE_FREE, COMMON, TAKE]);
        let release = script(&[NAMES, RELEASE_UNWANTED, GRANT, COMMON, RELEASE]);
        let [leave, renew, token, force] = [LEAVE, RENEW, TOKEN, FORCE].map(|end| script(&[NAMES, GRANT, COMMON, end]));
        Self { take, release, leave, renew, token, force }
    }

    pub(super) fn take(&self, claim: &Claimed<'_>, lease: Duration, waits: Option<Duration>) -> ScriptInvocation<'_> {
        let mut call = on(&self.take, claim);
        call.arg(lease.as_millis() as u64).arg(waits.map_or(0, |life| life.as_millis() as u64));
        call
    }

    pub(super) fn release(&self, claim: &Claimed<'_>) -> ScriptInvocation<'_> {
        on(&self.release, claim)
    }

    pub(super) fn leave(&self, claim: &Claimed<'_>) -> ScriptInvocation<'_> {
        on(&self.leave, claim)
    }

    pub(super) fn renew(&self, claim: &Claimed<'_>, lease: Duration) -> ScriptInvocation<'_> {
        let mut call = on(&self.renew, claim);
        call.arg(lease.as_millis() as u64);
        call
    }

    pub(super) fn token(&self, claim: &Claimed<'_>, lease: Duration) -> ScriptInvocation<'_> {
        let mut call = on(&self.token, claim);
        call.arg(lease.as_millis() as u64);
        call
    }

    pub(super) fn force(&self, claim: &Claimed<'_>) -> ScriptInvocation<'_> {
        on(&self.force, claim)
    }
}

/// Whose question it is, about what.
#[derive(Clone, Copy)]
pub(super) struct Claimed<'a> {
    pub(super) name: &'a str,
    pub(super) owner: &'a str,
    pub(super) room: i64,
}

fn on<'a>(script: &'a Script, Claimed { name, owner, room }: &Claimed<'_>) -> ScriptInvocation<'a> {
    // Semaphores have names of their own.
    let kind = if *room > 0 { "permits" } else { "lock" };
    let mut call = script.key(format!("trimtab:{kind}:{{{name}}}:held"));
    call.key(format!("trimtab:{kind}:{{{name}}}:queue")).key("trimtab:lock:tokens");
    call.key(format!("trimtab:{kind}:{{{name}}}:sharers")).arg(*owner).arg(*room);
    call
}

/// The list on which a waiter is woken.
pub(super) fn wake(owner: &str) -> String {
    format!("trimtab:lock:wake:{owner}")
}

pub(super) fn took(answer: Value) -> Result<Took, StoreError> {
    match answer {
        Value::Int(left) => Ok(Took::Busy { left: Duration::from_millis(left.max(0) as u64) }),
        other => {
            let (token, full): (String, i64) = redis::from_redis_value(other)
                .map_err(|e| StoreError::new("the server answered something else than a token", e))?;
            let token = token.parse().map_err(|e| StoreError::new("the server's token is no number", e))?;
            Ok(Took::Granted { token, alive_only: full == 0 })
        }
    }
}
