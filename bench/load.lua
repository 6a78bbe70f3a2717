-- Sends one POST with keys in turn, and prints what was measured as one line of JSON.
-- BENCH_BODY and BENCH_PATH are the request; BENCH_KEYS names a file with a key a line, empty for none.

local requests, turn = {}, 0

function init(args)
  local headers = { ["Content-Type"] = "application/json" }
  local path, body = os.getenv("BENCH_PATH"), os.getenv("BENCH_BODY")
  local keys = os.getenv("BENCH_KEYS")
  if keys and keys ~= "" then
    for key in io.lines(keys) do
      headers["Authorization"] = "Bearer " .. key
      requests[#requests + 1] = wrk.format("POST", path, headers, body)
    end
  else
    requests[1] = wrk.format("POST", path, headers, body)
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency, _)
  local errors = summary.errors
  local broken = errors.connect + errors.read + errors.write
  io.write(string.format(
    'RESULT {"requests": %d, "microseconds": %d, "refused": %d, "broken": %d, "late": %d, "p50_us": %d, "p99_us": %d}\n',
    summary.requests, summary.duration, errors.status, broken, errors.timeout,
    latency:percentile(50), latency:percentile(99)
  ))
end
