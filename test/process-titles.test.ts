/** What ps and top show for each process of a fleet. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { findPython } from "../packages/server/test/python.js";
import { HELLO } from "./support/apps.js";
import { Project, RUNTIMES } from "./support/fleet.js";

const SITE = 'def app(environ, start_response):\n    start_response("200 OK", [])\n    return [b"hi"]\n';
const PROGRAM = "require('node:http').createServer((q, s) => s.end('hi')).listen(process.env.PORT, '127.0.0.1');\n";

const titleOf = (pid: number) => readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0")[0];
const commOf = (pid: number) => readFileSync(`/proc/${pid}/comm`, "utf8").trimEnd();

test.for(RUNTIMES)("each process says what it is and of which fleet, on %s", async (runtime, context) => {
  const python = findPython();
  if (python === undefined) return context.skip("there is no Python 3.9 or newer");
  const config = {
    name: "shop",
    pools: {
      web: { app: "./app.js" },
      api: { command: [process.execPath, "program.cjs"], routes: "/api/" },
      old: { wsgi: "site_app:app", python, routes: "/old/" },
      forked: { wsgi: "site_app:app", python, routes: "/forked/", preload: true },
    },
  };
  const files = { "program.cjs": PROGRAM, "site_app.py": SITE };
  const project = await Project.make({ runtime, instances: 1, app: HELLO, config, files });
  await project.start();
  const { pid, pools, balancers } = await project.status();
  const processes = [...balancers, ...pools.flatMap(({ instances }) => instances)];
  const titles = processes.map((each) => titleOf(each.pid as number));
  expect(titles).toEqual(processes.map(({ name }) => `paceline ${name} (shop)`));
  expect(titleOf(pid)).toBe("paceline supervisor (shop)");
  // On Bun a serving process keeps its name, because writing a file would cost memory.
  const named = processes.filter(({ name }) => runtime === "node" || /^(old|forked)/.test(name));
  const comms = named.map((each) => commOf(each.pid as number));
  expect(comms).toEqual(named.map(({ name }) => `paceline ${name} (shop)`.slice(0, 15).trimEnd()));
  expect(commOf(pid)).toBe("paceline superv");
  expect((await project.stop()).code).toBe(0);
});
