/** What a rehearsal examines while no load runs: idle connections, slow requests one at a time, and the same request to all instances. */
import { existsSync, readFileSync } from "node:fs";
import type { NetConnectOpts } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { processesOf, readProcessTable } from "@paceline/wire/proc";
import type { PoolConfig } from "../core/model.js";
import type { Scene } from "./acts.js";
import type { IdleFacts, RepeatFacts, SlowFacts } from "./evidence.js";
import { type Ask, exchange, nameOf, type Outcome } from "./exchange.js";
import { countsAlone, ROUNDS } from "./repeats.js";
import type { Tally } from "./tally.js";
import { statusOf } from "./watch.js";

/** Kinds of pools whose instances serve HTTP with code that is not ours. */
const OF_OTHERS = new Set(["app", "asgi", "command"]);
const IDLE_MS = 2_200;
const RESPONSE_MS = 2_000;

/** Keeps a connection to an instance of each pool idle, and observes whether the instance closes it. */
export async function probeIdle({ fleet, pools, slowest }: Scene): Promise<IdleFacts[]> {
  const status = await statusOf(fleet);
  const rows = readProcessTable();
  const probes = pools.map(async ({ name, kind }) => {
    const instance = status.pools.find((pool) => pool.name === name)?.instances.find(({ state }) => state === "ready");
    const [ask] = slowest(name);
    if (!OF_OTHERS.has(kind) || instance?.pid == null || ask === undefined) return [];
    const address = addressOf([...processesOf(instance.pid, rows), instance.pid]);
    if (address === undefined) return [];
    const { socket, announcesClose: wasAnnounced } = await exchange(ask, {
      ...{ address, deadlineMs: RESPONSE_MS, closes: false },
    });
    // No connection is kept if the socket is that of a fetch app, which does not speak HTTP, or if the instance has announced that it
    // closes the connection.
    if (socket === null) return [];
    const from = performance.now();
    const closed = new Promise<number>((resolve) => socket.once("close", () => resolve(performance.now() - from)));
    socket.resume();
    const closedAfterMs = await Promise.race([closed, sleep(IDLE_MS, null)]);
    socket.destroy();
    return [{ pool: name, instance: instance.name, closedAfterMs, wasAnnounced }];
  });
  return (await Promise.all(probes)).flat();
}

/** Returns the address that a process serves, from the variables that Paceline has given it. */
function addressOf(pids: readonly number[]): NetConnectOpts | undefined {
  for (const pid of pids) {
    const { PACELINE_SOCKET: path, PORT, HOST: host = "127.0.0.1" } = environmentOf(pid);
    if (path !== undefined && existsSync(path)) return { path };
    if (path === undefined && PORT !== undefined && Number(PORT) > 0) return { host, port: Number(PORT) };
  }
  return undefined;
}

/** Returns an empty object if the process is gone, or without /proc. */
function environmentOf(pid: number): Record<string, string> {
  try {
    const entries = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
    return Object.fromEntries(entries.map((entry) => entry.split(/=(.*)/s, 2) as [string, string]));
  } catch {
    return {};
  }
}

const TIMES = 2;
const MAX_SLOW = 3;
/** A request that takes less time does not block others for long. */
const SLOW_MS = 500;
const LAG_EVERY_MS = 100;
/** A report about the event loop may come this much later. */
const REPORT_MS = 1_500;
const BEHIND_AFTER_MS = 50;

/** Sends each slow request while no other runs, and observes whether it delays anything else. */
export async function probeSlow(
  scene: Scene,
  slow: readonly { pool: PoolConfig; ask: Ask; slowestMs: number; quick: Ask }[],
): Promise<SlowFacts[]> {
  const facts: SlowFacts[] = [];
  const found = slow.filter(({ slowestMs }) => slowestMs >= SLOW_MS).slice(0, MAX_SLOW);
  for (const { pool, ask, quick } of found) {
    const times: SlowFacts["times"][number][] = [];
    while (times.length < TIMES) times.push(await aloneOnce(scene, pool, ask, quick));
    facts.push({ pool: pool.name, request: nameOf(ask), times });
  }
  return facts;
}

async function aloneOnce(
  { fleet, load }: Scene,
  pool: PoolConfig,
  ask: Ask,
  quick: Ask,
): Promise<SlowFacts["times"][number]> {
  const lag = async () => {
    const { pools } = await statusOf(fleet);
    const all = pools.find(({ name }) => name === pool.name)?.instances ?? [];
    return Math.max(0, ...all.map(({ eventLoopLagMs }) => eventLoopLagMs ?? 0));
  };
  let lagMs = 0;
  const asked = load.ask(ask);
  await sleep(BEHIND_AFTER_MS);
  // The event loop of a program cannot be measured from outside. Where requests queue for a free instance, quick requests show nothing.
  const isProgram = pool.kind === "command" && pool.maxInFlight === null && nameOf(quick) !== nameOf(ask);
  const behind = Array.from({ length: isProgram ? 2 * pool.instances : 0 }, () => load.ask(quick));
  const { durationMs } = await asked;
  const until = performance.now() + REPORT_MS;
  // A process that was blocked reports the delay when it runs again.
  for (;;) {
    lagMs = Math.max(lagMs, await lag());
    if (lagMs >= durationMs / 2 || performance.now() > until) break;
    await sleep(LAG_EVERY_MS);
  }
  const others = await Promise.all(behind);
  return { durationMs, lagMs, behindMs: Math.max(0, ...others.map((each) => each.durationMs)) };
}

/** A number that starts again by itself does so within this time. */
const LATER_MS = 1_200;
/** The same for a second examination, because a number may take longer to start again on a busy machine or with a slow disk. */
const MUCH_LATER_MS = 2_500;
const MAX_REPEATED = 8;
const MAX_COOKIES = 8;

/** Sends the same requests to all instances in turn, without and with the cookie that one of them has set. */
export async function probeState(
  { fleet, load, pools }: Scene,
  targets: readonly { pool: string; ask: Ask }[],
  tally: Tally,
): Promise<RepeatFacts[]> {
  const counted = async (ask: Ask) => {
    const outcome = await load.ask(ask);
    tally.add(outcome);
    return outcome;
  };
  const inTurn = async ({ instances }: Pick<RepeatFacts, "instances">, ask: Ask) => {
    const bodies: string[] = [];
    for (let at = 0; at < instances; at++) bodies.push((await counted(ask)).body);
    return bodies;
  };
  const status = await statusOf(fleet);
  const examined = [];
  for (const { pool, ask } of targets.slice(0, MAX_REPEATED)) {
    const isSticky = pools.find(({ name }) => name === pool)?.relayed.sticky !== undefined;
    const instances = status.pools.find(({ name }) => name === pool)?.ready ?? 0;
    // In such a pool, a client always gets the same instance.
    if (isSticky || instances < 2) continue;
    const bodies: string[] = [];
    for (let at = 0; at < ROUNDS * instances; at++) bodies.push((await counted(ask)).body);
    examined.push({ pool, ask, instances, bodies });
  }
  if (examined.length > 0) await sleep(LATER_MS);
  const facts: RepeatFacts[] = [];
  const again: { fact: RepeatFacts; ask: Ask }[] = [];
  for (const { pool, ask, instances, bodies } of examined) {
    const later = await inTurn({ instances }, ask);
    const { cookies, sent, bodies: known } = await probeCookies(counted, ask, instances);
    facts.push({
      pool,
      request: nameOf(ask),
      instances,
      bodies,
      later,
      cookies,
      withCookies: { bodies: known, later: [] },
    });
    if (sent !== undefined) again.push({ fact: facts.at(-1) as RepeatFacts, ask: { ...ask, cookie: sent } });
  }
  if (again.length > 0) await sleep(LATER_MS);
  for (const { fact, ask } of again) {
    fact.withCookies = { ...fact.withCookies, later: await inTurn(fact, ask) };
  }
  // Before a count is reported as a fault, it is examined once more.
  const counts = examined.flatMap(({ ask }, at) => {
    const fact = facts[at] as RepeatFacts;
    return countsAlone(fact) === undefined ? [] : [{ fact, ask }];
  });
  if (counts.length > 0) await sleep(MUCH_LATER_MS);
  for (const { fact, ask } of counts) fact.later = await inTurn(fact, ask);
  return facts;
}

async function probeCookies(
  send: (ask: Ask) => Promise<Outcome>,
  ask: Ask,
  instances: number,
): Promise<{ cookies: RepeatFacts["cookies"]; sent?: string; bodies: readonly string[] }> {
  const set = (await send(ask)).cookies.slice(0, MAX_COOKIES);
  // One request to each other instance, so that the next one goes to the same instance again.
  for (let at = 1; at < instances; at++) await send(ask);
  if (set.length === 0) return { cookies: [], bodies: [] };
  const sent = set.join("; ");
  const bodies: string[] = [];
  const found = set.map((cookie) => ({ cookie, name: cookie.split("=", 1)[0] ?? "", wasKnown: [] as boolean[] }));
  for (let at = 0; at < ROUNDS * instances; at++) {
    const { cookies, body } = await send({ ...ask, cookie: sent });
    bodies.push(body);
    for (const { cookie, name, wasKnown } of found) {
      const again = cookies.find((each) => each.startsWith(`${name}=`));
      wasKnown.push(again === undefined || again === cookie);
    }
  }
  return { cookies: found.map(({ name, wasKnown }) => ({ name, wasKnown })), sent, bodies };
}
