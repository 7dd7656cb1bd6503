/** Rehearses examples as a user does: nothing may be found in them. */
import { spawn, spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const PACELINE = fileURLToPath(new URL("../../../packages/supervisor/bin/paceline", import.meta.url));

/** The examples, with the options that their lines in examples/README.md have. */
const EXAMPLES = [
  ["examples/hello"],
  ["examples/express"],
  ["examples/fastify"],
  ["examples/hono"],
  ["examples/koa"],
  ["examples/defer", "--instances", "1"],
  ["examples/timers"],
  ["examples/sse-chat"],
  ["examples/static-site"],
  ["examples/websocket-echo"],
  ["examples/mail-queue"],
  ["--fapws", "examples/fapws/start.py", "--instances", "1"],
  ["examples/fastapi"],
  ["examples/django"],
  ["examples/gunicorn"],
];

/** The program that an example needs; an example is skipped if its program is not installed. */
const NEEDS = {
  "examples/fastapi": ["/usr/bin/python3", "-c", "import fastapi, uvicorn"],
  "examples/django": ["/usr/bin/python3", "-c", "import django"],
  "examples/gunicorn": ["gunicorn", "--version"],
};

/** Returns the problems found, each in a line. */
export async function rehearseExamples(runtime, seconds) {
  const problems = [];
  for (const words of EXAMPLES) {
    const [program, ...args] = NEEDS[words[0]] ?? ["true"];
    if (spawnSync(program, args).status !== 0) {
      process.stdout.write(`not rehearsed, because it needs ${program} ${args.join(" ")}: ${words[0]}\n`);
      continue;
    }
    const { code, output } = await rehearse([...words, "--runtime", runtime, "--for", String(seconds)]);
    process.stdout.write(`rehearsed ${words.join(" ")}: ${code === 0 ? "nothing found" : `exit status ${code}`}\n`);
    if (code === 0) continue;
    // Printed immediately, because the run may be stopped before it prints its problems.
    process.stdout.write(`${output}\n`);
    problems.push(words.join(" "));
  }
  return problems;
}

function rehearse(words) {
  return new Promise((resolve) => {
    const child = spawn(PACELINE, ["rehearse", ...words], { cwd: ROOT, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (text) => (output += text));
    child.on("error", (error) => resolve({ code: null, output: error.message }));
    child.on("close", (code) => resolve({ code, output }));
  });
}
