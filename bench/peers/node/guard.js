// The guard of the Node peers: a key looked up by its SHA-256, a fixed window counted in memory.
// The same as ../guard.py.
"use strict";

const crypto = require("node:crypto");
const fs = require("node:fs");

const WINDOW_SECONDS = 60;
const CALLS_A_WINDOW = 1_000_000_000;

const keys = fs.readFileSync(process.env.BENCH_KEYS, "utf8").split("\n").filter(Boolean);
const owners = new Map(keys.map((key, owner) => [digest(key), owner]));
const windows = new Map();

function digest(key) {
  return crypto.createHash("sha256").update(key).digest("base64");
}

// Returns whose key it is, or undefined.
function ownerOf(authorization) {
  if (!authorization || !authorization.startsWith("Bearer ")) return undefined;
  return owners.get(digest(authorization.slice(7)));
}

// Returns whether the owner may call once more.
function take(owner) {
  const window = Math.floor(Date.now() / 1000 / WINDOW_SECONDS);
  let counted = windows.get(owner);
  if (counted === undefined || counted.window !== window) {
    counted = { window, calls: 0 };
    windows.set(owner, counted);
  }
  counted.calls += 1;
  return counted.calls <= CALLS_A_WINDOW;
}

// Returns 200 and the owner, or the status of the refusal.
function admit(authorization) {
  const owner = ownerOf(authorization);
  if (owner === undefined) return { status: 401 };
  return take(owner) ? { status: 200, owner } : { status: 429, owner };
}

module.exports = { admit };
