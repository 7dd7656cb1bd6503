import { expect, test } from "vitest";
import type { OperationResult } from "../control/api.js";
import { ReloadQueue } from "./reload-queue.js";

/** Reloads that finish when the test says so. */
function bench() {
  const begun: { what: string; end(message: string): void; fail(message: string): void }[] = [];
  const queue = new ReloadQueue(
    (pool, environment) =>
      new Promise<OperationResult>((resolve) => {
        const what = `${pool ?? "all"}${environment === undefined ? "" : ` ${environment.V}`}`;
        const end = (message: string) => resolve({ ok: true, message });
        begun.push({ what, end, fail: (message) => resolve({ ok: false, code: "failed", message }) });
      }),
  );
  const run = (pool?: string, environment?: Record<string, string>) => queue.run(pool, environment, () => {});
  const turn = () => new Promise((resolve) => setTimeout(resolve, 5));
  return { queue, begun, run, turn, names: () => begun.map(({ what }) => what) };
}

test("requests during a run share one further run; each gets the result of the run that loaded its code", async () => {
  const { begun, run, turn, names } = bench();
  const results = [run(), run("web"), run("web", { V: "2" })];
  await turn();
  expect(names()).toEqual(["all"]);
  begun[0]?.end("first");
  await turn();
  expect(names()).toEqual(["all", "web 2"]);
  begun[1]?.end("second");
  expect((await Promise.all(results)).map(({ message }) => message)).toEqual(["first", "second", "second"]);
});

test("two pools are reloaded side by side; a reload of all pools waits for both, and includes waiting reloads of one pool", async () => {
  const { queue, begun, run, turn, names } = bench();
  const [web, api] = [run("web"), run("api")];
  await turn();
  expect(names()).toEqual(["web", "api"]);
  expect([queue.isRunning("web"), queue.isRunning("other")]).toEqual([true, false]);
  const again = run("web");
  const all = run();
  begun[0]?.end("web");
  await turn();
  expect(names()).toEqual(["web", "api"]);
  begun[1]?.end("api");
  await turn();
  expect(names()).toEqual(["web", "api", "all"]);
  begun[2]?.end("all");
  const results = await Promise.all([web, api, again, all]);
  expect(results.map(({ message }) => message)).toEqual(["web", "api", "all", "all"]);
  expect(queue.isRunning("web")).toBe(false);
});

test("after an exception, the next one begins", async () => {
  let calls = 0;
  const queue = new ReloadQueue(async () => {
    if (++calls === 1) throw new Error("no");
    return { ok: true, message: "second" };
  });
  const first = queue.run(undefined, undefined, () => {});
  const second = queue.run(undefined, undefined, () => {});
  await expect(first).rejects.toThrow("no");
  expect(await second).toMatchObject({ message: "second" });
});

test("a finished reload gets its response immediately, whatever happens to the waiting ones", async () => {
  const { begun, run, turn } = bench();
  const [first, second] = [run(), run()];
  await turn();
  begun[0]?.end("first");
  expect(await first).toEqual({ ok: true, message: "first" });
  await turn();
  begun[1]?.fail("no such table");
  expect(await second).toMatchObject({ ok: false, message: "no such table" });
  expect(await first).toMatchObject({ ok: true });
});
