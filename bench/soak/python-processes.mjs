/**
 * A WSGI app that starts processes in every way Python has, on every Python from 3.9: many calls of each. None may hang, the instances must
 * stay the same, and nothing may remain after the stop.
 *
 * npm run soak:python-processes -- --calls 40 --pythons /usr/bin/python3,/opt/python3.13/bin/python3
 */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import http from "node:http";
import { homedir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { startFleet, verdict, wait } from "./support.mjs";

const { values } = parseArgs({ options: { calls: { type: "string", default: "40" }, pythons: { type: "string" } } });
const CALLS = Number(values.calls);
const APP = new URL("../../packages/server/test/fixtures/", import.meta.url).pathname;
const CALL_TIMEOUT_MS = 60_000;
const GONE_WITHIN_MS = 5000;

/** The response of each path. */
const EXPECTED = [
  ...["fork", "forkserver", "spawn"].flatMap((method) => [
    [`/pool?${method}`, "[0, 2, 4, 6]"],
    [`/executor?${method}`, "42"],
    [`/terminates?${method}`, "-15"],
  ]),
  ["/interrupts", "-2"],
  ["/interrupts-fork", "7"],
  ["/child-raises", "1"],
  ["/child-returns", "1"],
  ["/child-exits", "5"],
];

function findPythons() {
  if (values.pythons !== undefined) return values.pythons.split(",");
  const pyenv = path.join(homedir(), ".pyenv/versions");
  const own = existsSync(pyenv) ? readdirSync(pyenv).map((name) => path.join(pyenv, name, "bin/python3")) : [];
  const all = ["/usr/bin/python3", ...own].filter((file) => existsSync(file));
  const versions = new Map();
  for (const file of all) {
    const version = execFileSync(file, ["-c", "import sys; print('%d.%d' % sys.version_info[:2])"], {
      encoding: "utf8",
    });
    const [major, minor] = version.trim().split(".").map(Number);
    if (major === 3 && minor >= 9 && !versions.has(version)) versions.set(version, file);
  }
  return [...versions.values()];
}

function get(port, target) {
  return new Promise((resolve) => {
    const request = http.get({ port, host: "127.0.0.1", path: target, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (piece) => {
        text += piece;
      });
      response.on("error", () => resolve("cut"));
      response.on("end", () => resolve(text));
    });
    request.on("error", (error) => resolve(error.message));
    request.setTimeout(CALL_TIMEOUT_MS, () => resolve("hangs"));
  });
}

/** Returns the processes with this mark in their environment. */
function marked(mark) {
  return readdirSync("/proc").filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/environ`, "latin1").includes(mark);
    } catch {
      return false; // It has exited, or belongs to another user.
    }
  });
}

for (const python of findPythons()) {
  const mark = `SOAK_MARK=${process.pid}-${Math.random()}`;
  const [name, value] = mark.split("=");
  const fleet = await startFleet(2, {
    app: undefined,
    wsgi: "wsgi_processes:application",
    ...{ cwd: APP, python },
    env: { [name]: value, PYTHONDONTWRITEBYTECODE: "1", PYTHONWARNINGS: "ignore" },
  });
  const wrong = [];
  let status;
  try {
    const runtime = (await fleet.control()).pools[0].instances[0].runtime;
    process.stdout.write(`${python}: ${runtime}\n`);
    for (let n = 0; n < CALLS; n++) {
      const bodies = await Promise.all(
        EXPECTED.slice(0)
          .map(([target]) => target)
          .reduce(pairs, [])
          .map(both(fleet.port)),
      );
      for (const [target, body] of bodies.flat()) {
        const expected = EXPECTED.find(([each]) => each === target)[1];
        if (body !== expected) wrong.push(`${target}: ${body.slice(0, 100)}`);
      }
    }
    status = await fleet.control();
  } finally {
    await fleet.stop();
  }
  const total = CALLS * EXPECTED.length;
  verdict(
    wrong.length === 0,
    `${total - wrong.length} of ${total} calls responded as they should ${wrong.slice(0, 3).join("; ")}`,
  );
  const restarts = status.pools[0].instances.reduce((sum, each) => sum + each.restarts, 0);
  verdict(restarts === 0, `${restarts} instances were started again`);
  const deadline = Date.now() + GONE_WITHIN_MS;
  while (marked(mark).length > 0 && Date.now() < deadline) await wait(50);
  verdict(marked(mark).length === 0, `${marked(mark).length} processes are left after the stop`);
}

/** Two lists, one per instance. */
function pairs(lists, target, index) {
  lists[index % 2] ??= [];
  lists[index % 2].push(target);
  return lists;
}

function both(port) {
  return async (targets) => {
    const results = [];
    for (const target of targets) results.push([target, await get(port, target)]);
    return results;
  };
}
