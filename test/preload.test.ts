/** Python pools with `preload`: a template loads the app once and forks the instances, which are ordinary instances. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, type TestContext, test } from "vitest";
import { findPython } from "../packages/server/test/python.js";
import type { PacelineError } from "../packages/supervisor/dist/errors.js";
import { Project, startFleet } from "./support/fleet.js";
import { kill, pause, signal } from "./support/processes.js";
import { get } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

const python = findPython();
const FIXTURES = join(import.meta.dirname, "../packages/server/test/fixtures");

/** `checked` runs under the validator of the standard library; /who names the instance. */
const APP = `
import json, os, random, sys, time, uuid
from wsgiref.validate import validator
from paceline import every, post_fork
import wsgi_app

loader = os.getpid()
at_load = {name: os.environ.get(name) for name in ("PACELINE_INSTANCE", "PACELINE_INDEX", "PACELINE_TOKEN")}
forked = []
timer = every(3600000, lambda: None)
loaded_at = time.monotonic()

@post_fork
def connect():
    forked.append(os.getpid())
    print("forked", os.environ["PACELINE_INDEX"], file=sys.stderr)

def application(environ, start_response):
    if environ["PATH_INFO"] == "/who":
        start_response("200 OK", [("Content-Type", "application/json")])
        mine = {name: value for name, value in os.environ.items() if name.startswith("PACELINE_")}
        return [json.dumps({
            "pid": os.getpid(), "session": os.getsid(0), "parent": os.getppid(), "loader": loader, "at_load": at_load,
            "forked": forked, "random": random.random(), "uuid": str(uuid.uuid4()), "environment": mine, "counts_anew": timer._due - 3600 > loaded_at,
            "multithread": environ["wsgi.multithread"], "version": "one",
        }).encode()]
    return wsgi_app.application(environ, start_response)

checked = validator(application)
`;
const SCRIPT = `
import fapws._evwsgi as evwsgi
import os
loader = os.getpid()
def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{loader} {os.getppid()}".encode()]
evwsgi.start("0.0.0.0", "8080")
evwsgi.wsgi_cb(("/", hello))
evwsgi.run()
`;

function needsPython(context: TestContext): void {
  if (python === undefined) context.skip("Python 3.9 or newer is not installed");
}

const wsgi = { wsgi: "site_app:checked", python, instances: 2, stripPrefix: true };
/** The settings of every project here. */
const PROJECT = { runtime: "bun", app: "", env: { PYTHONPATH: FIXTURES, PYTHONDONTWRITEBYTECODE: "1" } } as const;

interface Who {
  pid: number;
  session: number;
  parent: number;
  loader: number;
  at_load: Record<string, string | null>;
  forked: number[];
  random: number;
  uuid: string;
  environment: Record<string, string>;
  counts_anew: boolean;
  multithread: boolean;
  version: string;
}

/** Sends one request to each of two instances. */
async function who(project: Project, pool: string): Promise<Who[]> {
  const found = new Map<string, Who>();
  await waitFor(`both of ${pool} to answer`, async () => {
    const one = JSON.parse((await get(project.port, `/${pool}/who`)).body) as Who;
    found.set(one.environment.PACELINE_INDEX as string, one);
    return found.size === 2;
  });
  return [...found.values()];
}

test("with and without preload and threads an app meets the same server; each instance is a process of its own", async (context) => {
  needsPython(context);
  const project = await startFleet({
    ...PROJECT,
    files: { "site_app.py": APP, "start.py": SCRIPT },
    config: {
      pools: {
        plain: { ...wsgi, routes: ["/plain/"] },
        threads: { ...wsgi, routes: ["/threads/"], threads: 3 },
        preload: { ...wsgi, routes: ["/preload/"], preload: true },
        both: { ...wsgi, routes: ["/both/"], preload: true, threads: 3 },
        script: { fapws: "./start.py", python, instances: 1, routes: ["/"], preload: true },
      },
    },
  });
  for (const pool of ["plain", "threads", "preload", "both"]) {
    for (const path of ["/", "/environ?x=1", "/%E2%82%AC", "/blocks", "/empty", "/write", "/closes", "/file"])
      expect((await get(project.port, `/${pool}${path}`)).status, `${pool}${path}`).toBe(200);
    expect((await get(project.port, `/${pool}/not-modified`)).status).toBe(304);
    expect((await get(project.port, `/${pool}/nothing`)).status).toBe(204);
    const body = "line\n".repeat(20_000);
    const echoed = await fetch(`http://127.0.0.1:${project.port}/${pool}/echo`, { method: "POST", body });
    expect(echoed.status, pool).toBe(200);
    expect(await echoed.text(), pool).toContain("line");
  }
  const { pools } = await project.status();
  for (const pool of ["plain", "threads", "preload", "both"]) {
    const isForked = pool === "preload" || pool === "both";
    const templates = pools.find(({ name }) => name === pool)?.templates;
    expect(templates?.map(({ name, state }) => `${name} ${state}`)).toEqual(isForked ? [`${pool}.template ready`] : []);
    const each = await who(project, pool);
    for (const one of each) {
      expect(one).toMatchObject({
        session: one.pid,
        forked: [one.pid],
        multithread: pool === "threads" || pool === "both",
      });
      expect(one.loader === one.pid).toBe(!isForked);
      if (isForked) expect([one.loader, one.parent]).toEqual([templates?.[0]?.pid, templates?.[0]?.pid]);
      expect(one.at_load.PACELINE_TOKEN).toBeNull();
      const { PACELINE_POOL, PACELINE_INSTANCE, PACELINE_INDEX, ...rest } = one.environment;
      expect(PACELINE_INSTANCE).toBe(`${PACELINE_POOL}.${PACELINE_INDEX}`);
      for (const name of ["PACELINE_TOKEN", "PACELINE_CHANNEL", "PACELINE_SPEC"]) expect(rest).not.toHaveProperty(name);
      // Timers count from the fork.
      expect(one.counts_anew).toBe(isForked);
    }
    for (const key of ["random", "uuid", "pid"] as const) expect(new Set(each.map((one) => one[key])).size).toBe(2);
  }
  // A FAPWS script serves from its own code, also in each forked process.
  const [loader, parent] = (await get(project.port, "/")).body.split(" ");
  expect(loader).toBe(parent);
  // Each process has its own output.
  const stdout = await waitFor("the output of both", async () => {
    const { stdout } = await project.cli(["logs"]);
    return [1, 2].every((n) => new RegExp(`preload\\.${n} +\\| forked ${n}$`, "m").test(stdout)) && stdout;
  });
  expect(stdout).not.toMatch(/AssertionError|Warning/);
  expect((await project.cli(["status", "--wide"])).stdout).toMatch(/^both\.template +ready +\d+/m);
  expect((await project.stop()).code).toBe(0);
  await project.nothingLeft();
});

test("instances outlive their template, come from a new one, and are noticed to end by whoever can; a reload loads the app anew", async (context) => {
  needsPython(context);
  const project = await startFleet({
    ...PROJECT,
    files: { "site_app.py": APP },
    config: {
      orphanGraceMs: 60_000,
      backoff: { initialMs: 50, maxMs: 50, jitter: 0 },
      pools: { web: { ...wsgi, routes: ["/web/"], preload: true } },
    },
  });
  const pids = async () => {
    const { pools } = await project.status();
    return { instances: pools[0]?.instances.map(({ pid }) => pid), template: pools[0]?.templates[0]?.pid as number };
  };
  const replaced = (attempt: number, slot: number) =>
    project.statusWhere("it to be replaced", ({ pools }) => {
      const instance = pools[0]?.instances[slot];
      return instance?.attempt === attempt && instance.state === "ready";
    });

  // After a kill it is forked again from the same template.
  const first = await pids();
  signal(first.instances?.[0] as number, "SIGKILL");
  const exits = (await replaced(2, 0)).pools[0]?.instances[0]?.lastExit;
  expect(exits?.reason).toMatch(/^killed by SIGKILL after /);
  expect((await pids()).template).toBe(first.template);

  // Without its template it still serves; when it is then killed, a new template forks it.
  signal(first.template, "SIGKILL");
  await project.statusWhere("it to be gone", ({ pools }) => pools[0]?.templates.length === 0);
  expect((await who(project, "web")).map(({ loader }) => loader)).toEqual([first.template, first.template]);
  const orphan = (await pids()).instances?.[0] as number;
  signal(orphan, "SIGKILL");
  await replaced(3, 0);
  const second = await pids();
  const loaders = (await who(project, "web")).map(({ loader }) => loader);
  expect(new Set(loaders)).toEqual(new Set([first.template, second.template]));

  // A template that hangs and does not report an exit is killed.
  await pause(second.template);
  signal(second.instances?.[0] as number, "SIGKILL");
  await replaced(4, 0);
  expect((await pids()).template).not.toBe(second.template);

  // New code needs a new template; no request is lost, and nothing of the old template remains.
  const load = project.load({ mode: "keep-alive", clients: 2, path: "/web/who" });
  await waitFor("some requests", () => load.counts.ok > 20);
  project.write("site_app.py", "import nowhere_to_be\n");
  const failed = await project.reload();
  expect(failed.code).toBe(1);
  expect(failed.output).toContain(
    "site_app:checked failed to load: ModuleNotFoundError: No module named 'nowhere_to_be'",
  );
  project.write("site_app.py", APP.replace('"one"', '"two"'));
  const reloaded = await project.reload();
  expect(reloaded.code, reloaded.output).toBe(0);
  const counts = await load.stop();
  const { non2xx, resets, refused, truncated, malformed, timeouts } = counts;
  expect({ non2xx, resets, refused, truncated, malformed, timeouts }).toEqual({
    ...{ non2xx: 0, resets: 0, refused: 0, truncated: 0, malformed: 0, timeouts: 0 },
  });
  expect((await who(project, "web")).map(({ version }) => version)).toEqual(["two", "two"]);
  await project.statusWhere("one template to be left", ({ pools }) => pools[0]?.templates.length === 1);

  // Without instances it exits, too.
  expect((await project.cli(["logs", "web.template"])).code).toBe(0);
  expect((await project.scale("web", 0)).code).toBe(0);
  await project.statusWhere("its end", ({ pools }) => pools[0]?.templates.length === 0);
  expect((await project.scale("web", 2)).code).toBe(0);

  // A new supervisor continues with the forked instances, whose template exits with the former supervisor.
  const counted = project.statusWhere("the counts", ({ pools }) => (pools[0]?.requestsTotal ?? 0) >= 2);
  for (let request = 0; request < 2; request++) expect((await get(project.port, "/web/")).status).toBe(200);
  const former = await counted;
  const saved = () => readFileSync(join(project.runDir, "state.json"), "utf8").match(/"id":"web\./g)?.length;
  await waitFor("the state", () => saved() === 2);
  await kill(former.pid);
  expect((await get(project.port, "/web/")).status).toBe(200);
  await project.start();
  await project.statusWhere("the same instances", ({ pools: [web] }) => {
    const pidsNow = web?.instances.map(({ pid }) => pid) ?? [];
    const hasCounts = (web?.requestsTotal ?? 0) >= (former.pools[0]?.requestsTotal ?? 0);
    return hasCounts && former.pools[0]?.instances.every(({ pid }) => pidsNow.includes(pid)) === true;
  });

  // Without a supervisor nothing remains after the grace period.
  project.writeConfig({ orphanGraceMs: 3000 });
  expect((await project.reload()).code).toBe(0);
  // Processes that the reload has started have the former grace period.
  expect((await project.restart("web")).code).toBe(0);
  const { pid } = await project.status();
  signal(pid, "SIGKILL");
  await waitFor("the orphans to have left", () => project.processes().length === 0);
});

test("a start says why a template does not get ready", async (context) => {
  needsPython(context);
  const project = await Project.make({
    ...PROJECT,
    files: {
      "broken.py": "import nowhere_to_be\n",
      "unforkable.py": `${APP}\n@post_fork\ndef fails():\n    raise ValueError("no database")\n`,
      "threads.py": `import threading\nthreading.Thread(target=threading.Event().wait, name="poller", daemon=True).start()\n${SCRIPT}`,
    },
  });
  const pool = { python, instances: 2, preload: true };
  for (const [keys, message] of [
    [{ wsgi: "broken" }, /web\.\d .*: broken failed to load: ModuleNotFoundError: No module named 'nowhere_to_be'/],
    [{ wsgi: "unforkable" }, /the post_fork function fails failed: ValueError: no database/],
    [{ fapws: "./threads.py" }, /preload: the app started threads while it loaded \(poller\)/],
  ] as const) {
    project.writeConfig({ pools: { web: { ...pool, ...keys } } });
    const failed = await project.start().catch((error: PacelineError) => error);
    expect([failed?.message, ...(failed?.lastLines ?? [])].join("\n")).toMatch(message);
  }
  project.writeConfig({ pools: { web: { app: "./app.js", preload: true } } });
  const checked = await project.cli(["check", "--no-load"]);
  expect(checked.output).toContain("pools.web.preload: is only valid in `wsgi` and `fapws` pools");
  await project.nothingLeft();
});
