//! What the server does in one step each: take or join, release to the head, renew, draw a token, leave.
//!
//! Keys of a lock: `…{NAME}:held`, a hash of owner and token with the lease as its time to live; `…{NAME}:queue`, a list of owners.
//! Keys of a waiter: its sign of life, holding the length of its lease, and the list on which it is woken.

use std::time::Duration;

use redis::{Script, ScriptInvocation, Value};

use crate::error::StoreError;

/// Shared functions. `KEYS`: held, queue, tokens. Numbers beyond 2^53 do not occur: microseconds reach it in the year 2255.
const COMMON: &str = r"
local held, queue, tokens = KEYS[1], KEYS[2], KEYS[3]
local me = ARGV[1]
local function alive(owner) return 'trimtab:lock:alive:' .. owner end
local function wake(owner) return 'trimtab:lock:wake:' .. owner end
local function grant(owner, lease)
  local time = redis.call('TIME')
  local now = time[1] * 1000000 + time[2]
  local last = tonumber(redis.call('GET', tokens) or '0')
  local token = string.format('%.0f', math.max(last + 1, now))
  redis.call('SET', tokens, token)
  redis.call('HSET', held, 'owner', owner, 'token', token)
  redis.call('PEXPIRE', held, lease)
  return token
end
local function head()
  while true do
    local owner = redis.call('LPOP', queue)
    if not owner then return nil end
    local left = redis.call('PTTL', alive(owner))
    if left > 0 then
      local lease = math.min(left, tonumber(redis.call('GET', alive(owner))))
      return owner, grant(owner, lease)
    end
  end
end
local function pass_on()
  local owner, token = head()
  if not owner then
    redis.call('DEL', held)
    return
  end
  redis.call('RPUSH', wake(owner), token)
  redis.call('PEXPIRE', wake(owner), 60000)
end
";

/// ARGV: owner, lease, time as alive (0: does not wait). Answers `[token, 1 if full]` or the time left to the holder.
const TAKE: &str = r"
local lease, life = tonumber(ARGV[2]), tonumber(ARGV[3])
local owner = redis.call('HGET', held, 'owner')
if owner == me then return {redis.call('HGET', held, 'token'), 0} end
if not owner then
  if redis.call('LLEN', queue) == 0 then return {grant(me, lease), 1} end
  if life > 0 then
    redis.call('SET', alive(me), lease, 'PX', life)
    if not redis.call('LPOS', queue, me) then redis.call('RPUSH', queue, me) end
  end
  local first, token = head()
  if first == me then return {token, 0} end
  if not first then return {grant(me, lease), 1} end
  redis.call('RPUSH', wake(first), token)
  redis.call('PEXPIRE', wake(first), 60000)
elseif life > 0 then
  redis.call('SET', alive(me), lease, 'PX', life)
  if not redis.call('LPOS', queue, me) then redis.call('RPUSH', queue, me) end
end
if life > 0 then redis.call('PEXPIRE', queue, 600000) end
return math.max(redis.call('PTTL', held), 0)
";

/// ARGV: owner. 1 when it was ours.
const RELEASE: &str = r"
if redis.call('HGET', held, 'owner') ~= me then return 0 end
pass_on()
return 1
";

/// ARGV: owner. Leaves nothing of a question behind, whatever became of it.
const LEAVE: &str = r"
redis.call('LREM', queue, 0, me)
redis.call('DEL', alive(me), wake(me))
if redis.call('HGET', held, 'owner') ~= me then return 0 end
pass_on()
return 1
";

/// ARGV: owner, lease. 1 when it was ours.
const RENEW: &str = r"
if redis.call('HGET', held, 'owner') ~= me then return 0 end
redis.call('PEXPIRE', held, tonumber(ARGV[2]))
return 1
";

/// ARGV: owner, lease. The next token under the same hold.
const TOKEN: &str = r"
if redis.call('HGET', held, 'owner') ~= me then return false end
return grant(me, tonumber(ARGV[2]))
";

pub(super) struct Scripts {
    take: Script,
    release: Script,
    leave: Script,
    renew: Script,
    token: Script,
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
        let [take, release, leave, renew, token] =
            [TAKE, RELEASE, LEAVE, RENEW, TOKEN].map(|script| Script::new(&format!("{COMMON}{script}")));
        Self { take, release, leave, renew, token }
    }

    pub(super) fn take(
        &self,
        name: &str,
        owner: &str,
        lease: Duration,
        waits: Option<Duration>,
    ) -> ScriptInvocation<'_> {
        let mut call = on(&self.take, name, owner);
        call.arg(lease.as_millis() as u64).arg(waits.map_or(0, |life| life.as_millis() as u64));
        call
    }

    pub(super) fn release(&self, name: &str, owner: &str) -> ScriptInvocation<'_> {
        on(&self.release, name, owner)
    }

    pub(super) fn leave(&self, name: &str, owner: &str) -> ScriptInvocation<'_> {
        on(&self.leave, name, owner)
    }

    pub(super) fn renew(&self, name: &str, owner: &str, lease: Duration) -> ScriptInvocation<'_> {
        let mut call = on(&self.renew, name, owner);
        call.arg(lease.as_millis() as u64);
        call
    }

    pub(super) fn token(&self, name: &str, owner: &str, lease: Duration) -> ScriptInvocation<'_> {
        let mut call = on(&self.token, name, owner);
        call.arg(lease.as_millis() as u64);
        call
    }
}

fn on<'a>(script: &'a Script, name: &str, owner: &str) -> ScriptInvocation<'a> {
    let mut call = script.key(format!("trimtab:lock:{{{name}}}:held"));
    call.key(format!("trimtab:lock:{{{name}}}:queue")).key("trimtab:lock:tokens").arg(owner);
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
