/** How a Python app is named, and the errors for one of another kind or an uncalled factory. */
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { findPython, PYTHON_ENTRY } from "./python.js";

const FIXTURES = fileURLToPath(new URL("./fixtures/", import.meta.url));
const python = findPython();
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "pl-apps-"));
  copyFileSync(join(FIXTURES, "app_shapes.py"), join(folder, "odd (1): name.wsgi"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const OK = "";

const NAMES: [kind: "wsgi" | "asgi", name: string, problem: string | RegExp][] = [
  ["wsgi", "app_shapes:wsgi_app", OK],
  ["wsgi", "app_shapes", OK],
  ["wsgi", "app_shapes:Wsgi()", OK],
  ["wsgi", "app_shapes:WsgiPerRequest", OK],
  ["wsgi", "app_shapes:with_star", OK],
  ["wsgi", "app_shapes:with_default", OK],
  ["wsgi", "app_shapes:Holder.app", OK],
  ["wsgi", "app_shapes:create_app()", OK],
  ["wsgi", 'app_shapes:make("prod", 2, debug=True)', OK],
  ["wsgi", "app_shapes:make('a:b)', workers=-1)", OK],
  ["wsgi", "FOLDER/odd (1): name.wsgi", OK],
  ["wsgi", "FOLDER/odd (1): name.wsgi:create_app()", OK],
  ["wsgi", "FOLDER/odd (1): name.wsgi:nothing", /odd \(1\): name\.wsgi has no nothing$/],
  ["wsgi", "app_shapes:create_app", /it is a factory that makes an app: write "app_shapes:create_app\(\)"$/],
  ["wsgi", "app_shapes:Wsgi", /it is a class that makes an app: write "app_shapes:Wsgi\(\)"$/],
  [
    "wsgi",
    "app_shapes:needs_one",
    /takes 1 argument, an app takes 2; a factory .* such as app_shapes:needs_one\("prod"\)$/,
  ],
  ["wsgi", "app_shapes:asgi_app", /is an ASGI app .*: name it with `asgi`/],
  ["wsgi", "app_shapes:Asgi()", /is an ASGI app .*: name it with `asgi`/],
  ["wsgi", "app_shapes:plain_asgi", /takes three arguments, as an ASGI app does: name it with `asgi`/],
  ["wsgi", "app_shapes:number", /is no WSGI callable, but int$/],
  ["wsgi", "app_shapes:make('dev')", /failed: ValueError: not dev$/],
  ["wsgi", "app_shapes:make(print(chr(33) * 9))", /the arguments of a factory are texts, numbers and other literals/],
  ["wsgi", 'app_shapes:make("prod")("x")', /the arguments of a factory are/],
  ["wsgi", "app_shapes:make(*[1])", /the arguments of a factory are/],
  ["wsgi", "app_shapes:make(**{'mode': 1})", /the arguments of a factory are/],
  ["wsgi", "app_shapes:make(", /has no make\($|the arguments of a factory are|there is no module/],
  ["asgi", "app_shapes:asgi_app", OK],
  ["asgi", "app_shapes:plain_asgi", OK],
  ["asgi", "app_shapes:Asgi()", OK],
  ["asgi", "app_shapes:create_asgi('x')", OK],
  ["asgi", "app_shapes:Asgi", /it is a class that makes an app: write "app_shapes:Asgi\(\)"$/],
  ["asgi", "app_shapes:wsgi_app", /is a WSGI app .*: name it with `wsgi`/],
  ["asgi", "app_shapes:create_app()", /is a WSGI app .*: name it with `wsgi`/],
];

test("each name loads, or causes an error that says what to write; nothing but literals is evaluated", (context) => {
  if (python === undefined) context.skip("Python 3.9 or newer is not installed");
  const names = NAMES.map(([kind, name]) => [kind, name.replace("FOLDER", folder)]);
  const program = `
import json, sys
from paceline.errors import AppError
from paceline.load import load_app
problems = []
for kind, name in json.loads(sys.argv[1]):
    try:
        load_app(name, kind)
        problems.append("")
    except AppError as error:
        problems.append(str(error))
print(json.dumps(problems))
`;
  const env = { ...process.env, PYTHONPATH: `${dirname(PYTHON_ENTRY)}:${FIXTURES}` };
  const { stdout, stderr } = spawnSync(python as string, ["-c", program, JSON.stringify(names)], {
    env,
    encoding: "utf8",
  });
  expect(stdout, stderr).not.toContain("!!!!!!!!!");
  const problems = JSON.parse(stdout) as string[];
  for (const [at, [kind, name, expected]] of NAMES.entries()) {
    if (expected === OK) expect(problems[at], `${kind} ${name}`).toBe("");
    else expect(problems[at], `${kind} ${name}`).toMatch(expected);
  }
});
