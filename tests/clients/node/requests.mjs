// What every client's program needs: the key, a fetch that remembers, and a report of it all.
import { randomUUID } from "node:crypto";

/** What went over the wire, in order: the method, whether the document was sent, and the status. */
export const requests = [];

/** Fetch and remember. */
export async function recordingFetch(address, options = {}) {
  const url = new URL(address);
  const body = options.body ? JSON.parse(options.body) : Object.fromEntries(url.searchParams);
  const reply = await fetch(address, options);
  requests.push({ method: options.method ?? "GET", document: "query" in body, status: reply.status });
  return reply;
}

/** The headers that carry the key, when there is one. */
export const keyHeaders = process.env.API_KEY ? { authorization: `Bearer ${process.env.API_KEY}` } : {};

/** Ask until the server has refused once for the rate limit; whoever retries then gets every answer. */
export async function callUntilRefused(call) {
  const most = 20;
  while (requests.length < most && !requests.some(({ status }) => status === 429)) {
    await call();
  }
  return call();
}

/** A query that no server has seen, so that none knows its hash either. */
export const newQuery = () => `query Echo${randomUUID().replaceAll("-", "")}($text: String!) { echo(text: $text) }`;

/** Print what the caller found out, as one line of JSON. */
export const report = (found) => console.log(JSON.stringify({ ...found, requests }));
