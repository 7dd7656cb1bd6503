/** A blocked instance: other instances get its requests that have not started, and it gets its turn again afterwards. */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { RUNTIMES, startFleet } from "./support/fleet.js";
import { pause } from "./support/processes.js";
import { get, RawConnection } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

const INSTANCES = 3;

/**
 * `/block` blocks the event loop until a file `go` exists, after reporting its instance; every response names its instance, and every POST
 * is recorded at its start.
 */
const APP = `
import { appendFileSync, existsSync } from "node:fs";
const file = (name) => new URL(name, import.meta.url);
const who = process.env.PACELINE_INSTANCE;
export default {
  fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    const id = searchParams.get("id") ?? "";
    if (request.method === "POST") appendFileSync(file("ran"), id + "\\n");
    if (pathname === "/block") {
      appendFileSync(file("blocked"), who + "\\n");
      const cell = new Int32Array(new SharedArrayBuffer(4));
      while (!existsSync(file("go"))) Atomics.wait(cell, 0, 0, 20);
    }
    return new Response(id, { headers: { "x-instance": who } });
  },
};
`;

interface Noted {
  id: string;
  status: number;
  by: string;
}

/** Requests on open connections, and their responses in order of arrival. */
class Asked {
  readonly responses: Noted[] = [];

  constructor(private readonly port: number) {}

  async prepare(method: string, path: string, id: string): Promise<() => void> {
    const connection = await RawConnection.open(this.port);
    onTestFinished(() => connection.close());
    const length = method === "POST" ? "Content-Length: 0\r\n" : "";
    return () => {
      connection.write(`${method} ${path}?id=${id} HTTP/1.1\r\nHost: x\r\n${length}\r\n`);
      const whole = connection.until(new RegExp(`\r\n\r\n${id}$`));
      // A missing response is detected in the results.
      whole.then(
        (received) => this.responses.push(noted(id, received)),
        () => undefined,
      );
    };
  }

  prepareMany(method: string, prefix: string, count: number): Promise<(() => void)[]> {
    return Promise.all(Array.from({ length: count }, (_, n) => this.prepare(method, "/", `${prefix}${n}`)));
  }

  all(count: number): Promise<boolean> {
    const details = () => JSON.stringify(this.responses);
    return waitFor(`${count} answers`, () => this.responses.length >= count, { details });
  }

  of(prefix: string): Noted[] {
    return this.responses.filter(({ id }) => id.startsWith(prefix));
  }
}

function noted(id: string, received: string): Noted {
  return {
    id,
    status: Number(/^HTTP\/1\.1 (\d+)/.exec(received)?.[1]),
    by: /x-instance: (\S+)/i.exec(received)?.[1] ?? "nobody",
  };
}

describe.each(RUNTIMES)("a blocked instance on %s", (runtime) => {
  test("by a GET, by a POST: the others answer what it has not begun, and nothing runs twice", async () => {
    // Long enough to send the whole burst before the instance counts as stalled.
    const balancer = { limits: { stallAfterMs: 400 } };
    const project = await startFleet({ runtime, instances: INSTANCES, app: APP, config: { balancer } });
    for (const method of ["GET", "POST"]) {
      for (const name of ["go", "blocked", "ran"]) rmSync(join(project.folder, name), { force: true });
      for (let n = 0; n < 2 * INSTANCES; n++) await get(project.port);
      const asked = new Asked(project.port);
      const block = await asked.prepare(method, "/block", "block");
      const gets = await asked.prepareMany("GET", "get", 30);
      const posts = await asked.prepareMany("POST", "post", 9);

      block();
      const read = (name: string) => readFileSync(join(project.folder, name), "utf8").split("\n").filter(Boolean);
      const blocked = await waitFor(
        "the block to begin",
        () => {
          try {
            return read("blocked")[0];
          } catch {
            return undefined;
          }
        },
        { intervalMs: 2 },
      );
      for (const send of [...posts.slice(0, 4), ...gets, ...posts.slice(4)]) send();
      await waitFor("all GETs to be answered", () => asked.of("get").length === gets.length, {
        details: () => JSON.stringify(asked.responses),
      });
      // All GETs were responded to before the blocking request.
      expect(asked.of("block")).toEqual([]);
      expect(asked.of("get").filter(({ status, by }) => status !== 200 || by === blocked)).toEqual([]);

      // The stall is known now: new requests of both kinds skip the instance.
      const late = [
        ...(await asked.prepareMany("GET", "late", 10)),
        ...(await asked.prepareMany("POST", "late-post", 10)),
      ];
      for (const send of late) send();
      await waitFor("the late ones", () => asked.of("late").length === late.length);
      expect(asked.of("block")).toEqual([]);
      expect(asked.of("late").filter(({ status, by }) => status !== 200 || by === blocked)).toEqual([]);

      project.write("go", "");
      await asked.all(1 + gets.length + posts.length + late.length);
      expect(asked.responses.filter(({ status }) => status !== 200)).toEqual([]);
      expect(asked.of("block")).toEqual([{ id: "block", status: 200, by: blocked }]);
      const ran = read("ran");
      expect(ran.toSorted()).toEqual([...new Set(ran)].toSorted());
      expect(ran).toHaveLength(posts.length + 10 + (method === "POST" ? 1 : 0));

      await waitFor("its turn again", async () => (await get(project.port)).headers.get("x-instance") === blocked);
    }
  });
});

test("an instance that blocks before its first request holds none, and gets no more until it is heard", async () => {
  // Without replacements: only the other instance responds.
  const project = await startFleet({ runtime: "bun", instances: 2, app: APP, config: { hangAfterMs: 0 } });
  const pid = (await project.status()).pools[0]?.instances.find(({ name }) => name === "web.1")?.pid as number;
  await pause(pid);
  const asked = new Asked(project.port);
  for (const send of await asked.prepareMany("GET", "early", 2)) send();
  await asked.all(2);
  for (let n = 0; n < 6; n++) {
    (await asked.prepare("GET", "/", `late${n}`))();
    await asked.all(3 + n);
  }
  expect(asked.responses.map(({ status, by }) => `${status} ${by}`)).toEqual(new Array(8).fill("200 web.2"));
  process.kill(pid, "SIGCONT");
  await waitFor("its turn again", async () => (await get(project.port)).headers.get("x-instance") === "web.1");
});

test("a GET that blocks, among others that came with it, takes no second instance with it", async () => {
  const project = await startFleet({ runtime: "bun", instances: INSTANCES, app: APP });
  for (let n = 0; n < 2 * INSTANCES; n++) await get(project.port);
  const asked = new Asked(project.port);
  const before = await asked.prepareMany("GET", "before", 4 * INSTANCES);
  const block = await asked.prepare("GET", "/block", "block");
  const after = await asked.prepareMany("GET", "after", 4 * INSTANCES);
  for (const send of [...before, block, ...after]) send();
  // Requests that arrived with it get their responses from other instances in the meantime.
  await asked.all(before.length + after.length);
  expect(asked.of("block")).toEqual([]);
  project.write("go", "");
  await asked.all(before.length + 1 + after.length);
  expect(asked.responses.filter(({ status }) => status !== 200)).toEqual([]);
  expect(readFileSync(join(project.folder, "blocked"), "utf8")).toBe(`${asked.of("block")[0]?.by}\n`);
});
