/**
 * Sticky clients of a real fleet, 800 by cookie, over a change from 4 to 5 instances with a reload, crashes, a new balancer and a new
 * start.
 */
import net from "node:net";
import { describe, expect, test } from "vitest";
import { type Project, startFleet } from "./support/fleet.js";
import { signal } from "./support/processes.js";
import { waitFor } from "./support/wait.js";

/** Requests are sent ahead of their responses, so that a client costs little. */
const CONNECTIONS = 8;
const WHO = `process.env.PACELINE_INSTANCE + " " + process.pid`;

/** The pools, and how their clients are recognized. */
const POOLS = {
  web: { path: "/", instances: 4, sticky: "cookie", recognizedBy: () => "" },
  api: {
    path: "/api/",
    instances: 4,
    sticky: "address",
    recognizedBy: (client: number) => `X-Forwarded-For: 198.18.${client >> 8}.${client & 255}\r\n`,
  },
  cmd: {
    path: "/cmd/",
    instances: 2,
    sticky: "header:x-user",
    recognizedBy: (client: number) => `X-User: user-${client}\r\n`,
  },
};
type Pool = keyof typeof POOLS;

/** @param more the number of instances beyond the initial number */
function configOf(names: Pool[], more = 0) {
  const pool = (name: Pool) => {
    const { path, instances, sticky } = POOLS[name];
    // A crashed slot stays empty until the test has seen that.
    const backoff = { initialMs: 3_600_000, maxMs: 3_600_000 };
    return { routes: [path], sticky, instances: instances + more, backoff, minReadyMs: 0 };
  };
  const pools = {
    web: { app: "./app.js", ...pool("web") },
    api: { app: "./handler.js", ...pool("api") },
    cmd: { command: ["{bun}", "command.js"], ...pool("cmd") },
  };
  return { pools: Object.fromEntries(names.map((name) => [name, pools[name]])) };
}

const FILES = {
  "handler.js": `export default (req, res) => res.end(${WHO});\n`,
  "command.js": `Bun.serve({ port: process.env.PORT, hostname: process.env.HOST, fetch: () => new Response(${WHO}) });\n`,
};

interface Served {
  slot: number;
  pid: number;
  /** The value of a cookie that was set. */
  cookie: string | undefined;
}

class Clients {
  private readonly cookies = new Map<number, string>();

  constructor(
    private readonly project: Project,
    private readonly pool: Pool,
    readonly count: number,
  ) {}

  /** One request of each of these clients. Every request must get a response. */
  async request(clients = Array.from({ length: this.count }, (_, client) => client)): Promise<Served[]> {
    const served = new Map<number, Served>();
    const { path, recognizedBy } = POOLS[this.pool];
    await Promise.all(
      Array.from({ length: CONNECTIONS }, (_, at) => {
        const own = clients.filter((client) => client % CONNECTIONS === at);
        const requests = own.map((client) => {
          const cookie = this.cookies.get(client);
          const lines = recognizedBy(client) + (cookie === undefined ? "" : `Cookie: paceline_web=${cookie}\r\n`);
          return `GET ${path} HTTP/1.1\r\nHost: a\r\n${lines}\r\n`;
        });
        return exchangeAll(this.project.port, requests, (index, response) => {
          const [, pool, slot, pid] = /\r\n\r\n(\w+)\.(\d+) (\d+)$/.exec(response) ?? [];
          if (!response.startsWith("HTTP/1.1 200 ") || pool !== this.pool) throw new Error(response);
          const cookie = /^set-cookie: paceline_web=([^;]+); Path=\/; HttpOnly; SameSite=Lax\r/im.exec(response)?.[1];
          const client = own[index] as number;
          if (cookie !== undefined) this.cookies.set(client, cookie);
          served.set(client, { slot: Number(slot), pid: Number(pid), cookie });
        });
      }),
    );
    return clients.map((client) => served.get(client) as Served);
  }

  forge(change: (cookie: string) => string): void {
    for (const [client, cookie] of this.cookies) this.cookies.set(client, change(cookie));
  }
}

/** Sends requests ahead; requests that a closed connection leaves without a response are sent again on another connection. */
async function exchangeAll(port: number, requests: string[], onResponse: (index: number, response: string) => void) {
  let done = 0;
  while (done < requests.length) {
    await new Promise<void>((resolve, reject) => {
      let received = "";
      const socket = net.connect({ host: "127.0.0.1", port }, () => socket.write(requests.slice(done).join("")));
      socket.setEncoding("latin1").on("data", (text) => {
        received += text;
        for (;;) {
          const head = received.indexOf("\r\n\r\n") + 4;
          const length = Number(/^content-length: (\d+)\r/im.exec(received.slice(0, head))?.[1] ?? Number.NaN);
          if (head < 4 || received.length < head + length) break;
          onResponse(done++, received.slice(0, head + length));
          received = received.slice(head + length);
        }
        if (done === requests.length) socket.destroy();
      });
      socket.on("error", reject).on("close", () => resolve());
    });
  }
}

const slotsOf = (served: Served[]) => served.map(({ slot }) => slot);

function counted(slots: number[]): number[] {
  const counts = new Map<number, number>();
  for (const slot of slots) counts.set(slot, (counts.get(slot) ?? 0) + 1);
  return [...counts.values()];
}

// packages/balancer/test/sticky.test.ts runs on both runtimes.
describe("the clients of a balancer on bun", () => {
  test("keep to their slots", async () => {
    const names: Pool[] = ["web", "api", "cmd"];
    // On a busy machine an instance may be silent for a long time, and would be skipped.
    const balancer = { trustedProxies: ["127.0.0.1"], limits: { stallAfterMs: 60_000 } };
    const app = `export default { fetch: () => new Response(${WHO}) };\n`;
    const project = await startFleet({ runtime: "bun", app, files: FILES, config: { balancer, ...configOf(names) } });
    const count = 800;
    const clients = {
      web: new Clients(project, "web", count),
      api: new Clients(project, "api", 400),
      cmd: new Clients(project, "cmd", 400),
    };

    const before = {} as Record<Pool, Served[]>;
    for (const name of names) {
      const first = slotsOf(await clients[name].request());
      before[name] = await clients[name].request();
      expect(slotsOf(before[name]), name).toEqual(first);
      const counts = counted(first);
      const share = clients[name].count / POOLS[name].instances;
      expect(Math.max(...counts), `${name}: ${counts}`).toBeLessThanOrEqual(1.25 * share);
    }
    expect(before.web.every(({ cookie }) => cookie === undefined)).toBe(true);
    expect(counted(slotsOf(before.web))).toEqual(Array(4).fill(count / 4));

    // One instance more, and a reload: some clients send requests all the time, and lose none.
    project.writeConfig(configOf(names, 1));
    const reload = project.reload();
    let isOver = false;
    void reload.then(() => {
      isOver = true;
    });
    for (let round = 0; !isOver; round++) {
      const name = names[round % names.length] as Pool;
      const some = Array.from({ length: 40 }, (_, at) => at * 10);
      const slots = slotsOf(await clients[name].request(some));
      for (const [at, client] of some.entries())
        expect([before[name][client]?.slot, name === "web" ? 0 : POOLS[name].instances + 1]).toContain(slots[at]);
      await new Promise((resolve) => setTimeout(resolve, 40));
    }
    expect((await reload).code).toBe(0);
    await project.ready();
    const after = {} as Record<Pool, Served[]>;
    for (const name of names) {
      after[name] = await clients[name].request();
      const moved = after[name].filter(({ slot }, client) => slot !== before[name][client]?.slot);
      const instances = POOLS[name].instances + 1;
      expect(moved.every(({ slot }) => slot === instances)).toBe(true);
      // By hash each slot has about the same share, so the new slot gets that share; by cookie all clients stay.
      const share = moved.length / clients[name].count;
      if (name === "web") expect(share).toBe(0);
      else expect(Math.abs(share * instances - 1), `${name}: ${share}`).toBeLessThan(0.25);
      const pids = new Set(before[name].map(({ pid }) => pid));
      expect(after[name].every(({ pid }) => !pids.has(pid))).toBe(true);
    }

    // Slot 2 of each pool crashes: only its clients get other instances.
    for (const name of names) signal(after[name].find(({ slot }) => slot === 2)?.pid as number, "SIGKILL");
    await project.statusWhere("the crashed ones to be gone", ({ pools }) =>
      pools.every(({ ready, wanted }) => ready === wanted - 1),
    );
    for (const name of names) {
      const during = await clients[name].request();
      const moved = during.filter(({ slot }, client) => slot !== after[name][client]?.slot);
      expect(moved, name).toEqual(during.filter((_, client) => after[name][client]?.slot === 2));
      expect(moved.every(({ slot, cookie }) => slot !== 2 && (cookie !== undefined) === (name === "web"))).toBe(true);
      after[name] = during;
    }

    // A new balancer process, and a new start.
    const [old] = (await project.status()).balancers;
    signal(old?.pid as number, "SIGKILL");
    await project.statusWhere("another balancer", ({ balancers }) => {
      const [now] = balancers;
      return now?.state === "ready" && now.pid !== old?.pid;
    });
    for (const name of names) expect(slotsOf(await clients[name].request()), name).toEqual(slotsOf(after[name]));
    expect((await project.stop()).code).toBe(0);
    await waitFor("the port to be free", () => project.processes().length === 0);
    await project.start();
    expect(slotsOf(await clients.web.request())).toEqual(slotsOf(after.web));

    // Cookies that are not ours are ignored, and replaced.
    const seen = slotsOf(await clients.web.request());
    clients.web.forge((cookie) => cookie.replace(/^\d+/, (slot) => `${(Number(slot) % 5) + 1}`));
    const replaced = await clients.web.request();
    expect(replaced.every(({ cookie, slot }) => cookie?.startsWith(`${slot}.`))).toBe(true);
    expect(Math.max(...counted(slotsOf(replaced)))).toBeLessThanOrEqual(Math.ceil(count / new Set(seen).size));
  });
});
