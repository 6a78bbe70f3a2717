"""The sliding window counter in Lua: every script is one atomic step over all windows of a call.

A counter is one string, `previous current started`: the units of two windows, and the millisecond by the
server's clock before the current one began. It expires when both windows have passed. The arithmetic is
that of `windows.py`, exact beyond what a double could multiply.

A script takes the counters' names as KEYS and, as its one argument, `limit window_ms cost` of each. It
answers `passed`, then `previous current elapsed_ms` of each counter.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

_OPEN = """\
local moment = redis.call('TIME')
local now = moment[1] * 1000 + math.floor(moment[2] / 1000)
local asked = {}
for number in string.gmatch(ARGV[1], '%d+') do asked[#asked + 1] = tonumber(number) end
local previous, current, started = {}, {}, {}
for i, text in ipairs(redis.call('MGET', unpack(KEYS))) do
  local window = asked[3 * i - 1]
  local p, c, s = 0, 0, now - 1
  if text then
    local a, b, t = string.match(text, '(%d+) (%d+) (%d+)')
    a, b, t = tonumber(a), tonumber(b), tonumber(t)
    -- A clock that was set back keeps what was counted, in a window that starts anew.
    if t >= now then t = now - 1 end
    if now - t <= window then
      p, c, s = a, b, t
    elseif now - t < 2 * window then
      p, c, s = b, 0, t + window
    end
  end
  previous[i], current[i], started[i] = p, c, s
end
"""

_WEIGH = """\
-- count * left / window, rounded down; the product of the whole numbers would pass 2^53.
local function weighted(count, left, window)
  local high = math.floor(count / 65536)
  local product = high * left
  local whole = math.floor(product / window)
  local rest = (product - whole * window) * 65536 + (count - high * 65536) * left
  return whole * 65536 + math.floor(rest / window)
end
local passed = 1
for i = 1, #KEYS do
  local limit, window, cost = asked[3 * i - 2], asked[3 * i - 1], asked[3 * i]
  local used = current[i]
  if previous[i] > 0 then used = used + weighted(previous[i], window - (now - started[i]), window) end
  if used + cost > limit then passed = 0 end
end
"""

_WRITE = """\
for i = 1, #KEYS do
  current[i] = current[i] + asked[3 * i]
  redis.call('SET', KEYS[i], previous[i] .. ' ' .. current[i] .. ' ' .. started[i],
             'PX', started[i] + 2 * asked[3 * i - 1] - now)
end
"""

_ANSWER = """\
local answer = {passed}
for i = 1, #KEYS do
  answer[#answer + 1] = previous[i]
  answer[#answer + 1] = current[i]
  answer[#answer + 1] = now - started[i]
end
return table.concat(answer, ' ')
"""


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the SHA-1 under which a server keeps it."""

    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        """Name the script as `SCRIPT LOAD` does."""
        digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "sha", digest)


TAKE = Script(f"{_OPEN}{_WEIGH}if passed == 1 then\n{_WRITE}end\n{_ANSWER}")
"""Take every cost if all pass, else none."""

PEEK = Script(f"{_OPEN}local passed = 1\n{_ANSWER}")
"""Read; nothing is written."""

ADD = Script(f"{_OPEN}local passed = 1\n{_WRITE}{_ANSWER}")
"""Count every cost, whatever the limits: it has been spent already."""
