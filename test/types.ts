/** What the compiler accepts and rejects in configurations and programs; checked with the other types, never run. */
import { type CreatedFleet, connectFleet, createFleet, defineConfig, type FleetEvent, PacelineError } from "paceline";

// One pool at the top level, or several.
defineConfig({ app: "./app.ts", instances: "cpus", style: "fetch", maxSurge: "25%", env: { DEBUG: true, LEVEL: 3 } });
defineConfig({ listen: ":80", pools: { web: { app: "a.ts" }, files: { static: "public", routes: "/static/" } } });
defineConfig({ $schema: "x", command: ["gunicorn", "api:app"], maxInFlight: 2, balancer: { limits: { maxQueue: 0 } } });
defineConfig({ pools: { queue: { worker: "./queue.ts", instances: 2, overlap: true }, web: { app: "a.ts" } } });
defineConfig({ wsgi: { "/": "site:app" }, threads: 4, preload: true });
// Functions and promises.
defineConfig(({ mode, env }) => ({ app: mode === "production" ? "dist/app.js" : "app.ts", cwd: env.HOME }));
defineConfig(async () => ({ proxy: "https://old.example", proxyOptions: { secure: false } }));
defineConfig(Promise.resolve({ asgi: "main:app", asgiServer: "uvicorn" as const }));

// @ts-expect-error: a misspelt key.
defineConfig({ app: "a.ts", instancs: 2 });
// @ts-expect-error: the wrong type.
defineConfig({ app: "a.ts", instances: "two" });
// @ts-expect-error: no such word.
defineConfig({ app: "a.ts", style: "express" });
// @ts-expect-error: a pool has one kind.
defineConfig({ pools: { web: { static: "public", app: "a.ts" } } });
// @ts-expect-error: a static pool has no arguments.
defineConfig({ pools: { web: { static: "public", args: ["-v"] } } });
// @ts-expect-error: threads are for WSGI.
defineConfig({ app: "a.ts", threads: 2 });
// @ts-expect-error: a pool needs a kind.
defineConfig({ pools: { web: { instances: 2 } } });
// @ts-expect-error: a worker gets no requests.
defineConfig({ pools: { queue: { worker: "./queue.ts", routes: "/" } } });
// @ts-expect-error: routes belong to the pools.
defineConfig({ routes: "/", pools: { web: { app: "a.ts" } } });
// @ts-expect-error: an app at the top level and pools.
defineConfig({ app: "a.ts", pools: { web: { app: "a.ts" } } });
// @ts-expect-error: a limit that does not exist.
defineConfig({ app: "a.ts", balancer: { limits: { maxQueues: 1 } } });
// @ts-expect-error: a function's result is checked too.
defineConfig(() => ({ app: "a.ts", instances: "two" }));
// @ts-expect-error: and that of an asynchronous one.
defineConfig(async () => ({ pools: { web: { static: "public", app: "a.ts" } } }));

/** Uses every member of a fleet. */
export async function operate(): Promise<FleetEvent[]> {
  const fleet: CreatedFleet = await createFleet({ config: { app: "./app.js" }, listen: ["8080"], timeoutMs: 1000 });
  await fleet.scale("web", 2, { onProgress: (message) => message.length });
  await fleet.scale("web", { by: -1 });
  await fleet.reload({ config: defineConfig({ app: "./other.js" }), env: { A: "b" } });
  // @ts-expect-error: a config as a value is checked like a file's.
  await fleet.reload({ config: { app: "./other.js", static: "public" } });
  await fleet.restart("web.1", { timeoutMs: 1000 });
  const { pools } = await fleet.status();
  const ready: number = pools.reduce((sum, pool) => sum + pool.ready, 0);
  const events: FleetEvent[] = [];
  for await (const event of fleet.events({ name: "web", lines: ready, follow: false })) events.push(event);
  const other = await connectFleet({ runDir: fleet.runDir }).catch((error: PacelineError) => error.exitStatus);
  // @ts-expect-error: a fleet that was found cannot be detached.
  if (typeof other === "object") other.detach();
  await fleet.detach();
  await fleet.stop({ pool: "web" });
  const { code } = await fleet.ended;
  if (code !== 0) throw new PacelineError("failed", "it did not end well");
  await fleet.close();
  return events;
}
