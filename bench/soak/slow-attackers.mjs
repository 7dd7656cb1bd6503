/**
 * The four attacks of slowhttptest with 4,000 connections during a normal load: `npm run soak:slow-attackers`. The p99 of other clients may
 * be at most twice that without an attack plus 5 ms, none of their requests may fail, and the attackers' connections must be closed. Then
 * 4,000 slow heads are sent to a balancer that accepts 1,000 connections: other clients must still be let in.
 */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { parseArgs, stripVTControlCharacters } from "node:util";
import { openLoop } from "../support/open-loop.mjs";
import { inIdleClass } from "./bounds/idle-class.mjs";
import { endsWithProgram, rssMB, startFleet, verdict, wait } from "./support.mjs";

const { values } = parseArgs({
  options: {
    connections: { type: "string", default: "4000" },
    seconds: { type: "string", default: "20" },
    rate: { type: "string", default: "200" },
    only: { type: "string", default: "" },
    runtime: { type: "string" },
  },
});
const [connections, seconds, rate] = [values.connections, values.seconds, values.rate].map(Number);

/** The deadlines are short, so that all of them pass within a run; the rates are the defaults. Each slow reader occupies a place. */
const LIMITS = {
  ...{ headTimeoutMs: 10_000, bodyTimeoutMs: 5_000, sendTimeoutMs: 4_000, keepAliveTimeoutMs: 15_000 },
  maxConnectionsPerUpstream: connections,
};

/** The options of each attack: slow heads, slow bodies, many ranges, slow reading of a large response. */
const ATTACKS = {
  headers: ["-H", "-i", "2", "-x", "24"],
  body: ["-B", "-i", "2", "-s", "8192", "-x", "10"],
  range: ["-R", "-a", "5", "-b", "3000"],
  read: ["-X", "-w", "256", "-y", "512", "-n", "5", "-z", "16", "-k", "3"],
};

/** Starts an attack; `stop` returns the last line of slowhttptest about its connections. */
function attack(port, name, target) {
  const args = [...ATTACKS[name], "-c", `${connections}`, "-r", `${connections / 4}`, "-l", "600", "-p", "3"];
  // With CPU time of others it would check its 4,000 connections continuously, but real attackers have their own CPUs.
  const [program, ...words] = inIdleClass(["slowhttptest", ...args, "-u", `http://127.0.0.1:${port}${target}`]);
  const child = endsWithProgram(spawn(program, words, { stdio: ["ignore", "pipe", "ignore"] }));
  // The program exits by itself when all of its connections are closed.
  const ended = once(child, "exit");
  let output = "";
  child.stdout.setEncoding("latin1").on("data", (text) => {
    output = (output + text).slice(-4000);
  });
  return {
    async stop() {
      child.kill("SIGINT");
      await ended;
      const plain = stripVTControlCharacters(output);
      const last = (word) => [...plain.matchAll(new RegExp(`${word}:\\s+(\\d+)`, "g"))].at(-1)?.[1] ?? "?";
      return `connected ${last("connected")}, closed ${last("closed")}, service available ${/service available:\s+(\w+)/g.exec(plain)?.[1] ?? "?"}`;
    },
  };
}

/** The memory of all TCP connections of the machine, in megabytes, and the limit above which the kernel refuses more (net.ipv4.tcp_mem). */
function tcpMemory() {
  const pages = Number(/^TCP:.* mem (\d+)/m.exec(readFileSync("/proc/net/sockstat", "utf8"))[1]);
  const limit = Number(readFileSync("/proc/sys/net/ipv4/tcp_mem", "utf8").trim().split(/\s+/).at(-1));
  return `${Math.round(pages / 256)} of ${Math.round(limit / 256)} MB of TCP memory`;
}

const loadOf = (port) => openLoop(port, { rate, connections: 32, seconds });

async function measure(name, limits, isFull) {
  const config = { balancer: { limits: { ...LIMITS, ...limits } }, ...(values.runtime && { runtime: values.runtime }) };
  const fleet = await startFleet(2, config);
  try {
    await loadOf(fleet.port);
    const alone = await loadOf(fleet.port);
    const before = rssMB(fleet.balancerPid);
    const attackers = attack(fleet.port, name, name === "read" ? "/gigabyte" : "/");
    // All have connected; the first deadlines pass during the load.
    await wait(6000);
    const beside = await loadOf(fleet.port);
    const { connections: open } = (await fleet.control()).balancers[0];
    const after = rssMB(fleet.balancerPid);
    const tcp = tcpMemory();
    const said = await attackers.stop();
    verdict(
      beside.p99Ms <= 2 * alone.p99Ms + 5 && beside.failed === 0,
      `${name}${isFull ? ", all connections taken" : ""}: p99 of the others ${alone.p99Ms.toFixed(1)} ms without it, ${beside.p99Ms.toFixed(1)} ms beside it, ${beside.failed} failed`,
    );
    process.stdout.write(
      `      ${open ?? "?"} connections open at the end, RSS ${before.toFixed(0)} → ${after.toFixed(0)} MB, ${tcp}; ${said}\n`,
    );
  } finally {
    await fleet.stop();
  }
}

if (spawnSync("slowhttptest", ["-h"]).error !== undefined) {
  process.stderr.write("slowhttptest is not installed: test/install-debian-packages.sh installs it\n");
  process.exit(2);
}
for (const name of Object.keys(ATTACKS)) if (name.includes(values.only)) await measure(name, {}, false);
if ("headers".includes(values.only)) await measure("headers", { maxConnections: connections / 4 }, true);
