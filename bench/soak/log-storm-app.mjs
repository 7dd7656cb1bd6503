/** Writes numbered lines of 100 bytes at a steady rate after a start signal, and serves requests. */
import { existsSync, writeSync } from "node:fs";

const { STORM_LINES, STORM_RATE, STORM_BEGIN } = process.env;
const lines = Number(STORM_LINES);
const perMs = Number(STORM_RATE) / 1000;
let next = 0;
let startedAt;

function line(number) {
  return `${`storm ${number} `.padEnd(99, "x")}\n`;
}

/** Writes all due lines in one write, like a program that logs fast. */
function write() {
  startedAt ??= performance.now();
  const due = Math.min(lines, Math.ceil((performance.now() - startedAt) * perMs));
  let text = "";
  while (next < due) text += line(next++);
  if (text !== "") writeAll(Buffer.from(text));
  if (next < lines) setTimeout(write, 10);
}

function writeAll(bytes) {
  for (let written = 0; written < bytes.length; ) written += writeSync(1, bytes, written);
}

const waiting = setInterval(() => {
  if (!existsSync(STORM_BEGIN)) return;
  clearInterval(waiting);
  write();
}, 20);

export default { fetch: () => new Response(String(next)) };
