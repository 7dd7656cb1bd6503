/**
 * Four instances write 10,000 lines per second each for 30 s. Printed lines plus counted losses must equal written lines, per instance, on
 * the supervisor's output and for a follower. The supervisor's memory must stay flat.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { cpuSeconds, endsWithProgram, freePort, PACELINE, rssMB, verdict, wait } from "./support.mjs";

const { values } = parseArgs({
  options: {
    instances: { type: "string", default: "4" },
    rate: { type: "string", default: "10000" },
    seconds: { type: "string", default: "30" },
    runtime: { type: "string", default: "bun" },
    settle: { type: "string", default: "20" },
    /** The limit of unread bytes per process; a small limit tests the count of losses. */
    bound: { type: "string" },
  },
});
const [instances, rate, seconds] = [values.instances, values.rate, values.seconds].map(Number);
const lines = rate * seconds;
const app = fileURLToPath(new URL("log-storm-app.mjs", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "paceline-soak-"));
const begin = join(folder, "begin");
const port = await freePort();
const config = join(folder, "paceline.config.json");
writeFileSync(
  config,
  JSON.stringify({
    app,
    instances,
    runtime: values.runtime,
    listen: [`127.0.0.1:${port}`],
    env: { STORM_LINES: String(lines), STORM_RATE: String(rate), STORM_BEGIN: begin },
    ...(values.bound === undefined ? {} : { maxOutputBytes: Number(values.bound) }),
  }),
);

/** Counts each instance's lines in a stream of JSON lines. */
function tally(stream, textOf) {
  const seen = new Map();
  let rest = "";
  stream.setEncoding("utf8").on("data", (part) => {
    const whole = (rest + part).split("\n");
    rest = whole.pop();
    for (const each of whole) {
      const { name, lost = 0, ...line } = JSON.parse(each);
      if (!name.startsWith("web.")) continue;
      const entry = seen.get(name) ?? { printed: 0, lost: 0, last: -1, disordered: 0 };
      seen.set(name, entry);
      entry.lost += lost;
      const [, number] = /^storm (\d+) x/.exec(textOf(line)) ?? [];
      if (number === undefined) continue;
      entry.printed++;
      if (Number(number) <= entry.last) entry.disordered++;
      entry.last = Number(number);
    }
  });
  return seen;
}

const env = { ...process.env, PACELINE_RUNTIME: values.runtime };
const options = { cwd: folder, env, stdio: ["ignore", "pipe", "inherit"] };
const runDir = ["--run-dir", join(folder, "run")];
const fleet = endsWithProgram(spawn(PACELINE, ["start", "--log-format", "json", ...runDir, config], options));
const printed = tally(fleet.stdout, ({ msg }) => msg);
try {
  const status = async () => {
    const asked = spawn(PACELINE, ["status", "--json", ...runDir], { ...options, stdio: ["ignore", "pipe", "ignore"] });
    let text = "";
    asked.stdout.setEncoding("utf8").on("data", (part) => {
      text += part;
    });
    await once(asked, "close");
    return text === "" ? undefined : JSON.parse(text);
  };
  const deadline = Date.now() + 20_000;
  while ((await status())?.state !== "running") {
    if (Date.now() > deadline) throw new Error("the fleet did not get ready");
    await wait(200);
  }
  const follower = spawn(PACELINE, ["logs", "-f", "-n", "0", "--json", ...runDir], options);
  const followed = tally(follower.stdout, ({ text }) => text);
  await wait(1000);
  writeFileSync(begin, "");
  const cpuBefore = cpuSeconds(fleet.pid);
  const memory = [];
  const startedAt = Date.now();
  const isDone = () =>
    [printed, followed].every(
      (seen) => seen.size === instances && [...seen.values()].every((e) => e.printed + e.lost >= lines),
    );
  while (!isDone() && Date.now() - startedAt < (seconds + Number(values.settle)) * 1000) {
    await wait(1000);
    memory.push(rssMB(fleet.pid));
  }
  const cpu = cpuSeconds(fleet.pid) - cpuBefore;
  const told = await status();
  fleet.kill("SIGTERM");
  await Promise.all([once(fleet, "exit"), once(follower, "exit")]);
  for (const [where, seen] of [
    ["printed", printed],
    ["followed", followed],
  ]) {
    for (const [name, entry] of [...seen].sort()) {
      const { printed: shown, lost, disordered } = entry;
      verdict(
        shown + lost === lines && disordered === 0,
        `${where}: ${name} ${shown} lines and ${lost} counted as lost of ${lines} written, ${disordered} out of order`,
      );
    }
  }
  for (const { name, linesTotal, linesLost } of told.pools[0].instances) {
    console.log(`status: ${name} linesTotal ${linesTotal}, linesLost ${linesLost}`);
  }
  const third = Math.ceil(memory.length / 3);
  const most = (part) => Math.max(...part);
  const early = most(memory.slice(0, third * 2));
  const late = most(memory.slice(-third));
  // A short storm ends before the heap has reached its final size.
  verdict(
    seconds < 30 || late < early * 1.1 + 5,
    `supervisor: ${early.toFixed(0)} MB at the most in the first two thirds, ${late.toFixed(0)} MB in the last`,
  );
  console.log(`supervisor: ${cpu.toFixed(1)} s of CPU, ${((cpu * 1e6) / (lines * instances)).toFixed(1)} µs a line`);
} finally {
  fleet.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
}
