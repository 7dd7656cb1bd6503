/** The hint for a Python app given instead of a config or app: the command to type. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { findSource } from "./find.js";

let folder: string;

const FILES = {
  "api.py": "from fastapi import FastAPI\n\napi: FastAPI = FastAPI(title='x')\n",
  "flasky.py": "import flask\nshop = flask.Flask(__name__)\n",
  "raw.py": "def serve(environ, start_response):\n    pass\n",
  "coro.py": "async def main(scope, receive, send):\n    pass\n",
  "old.py": "import fapws._evwsgi as evwsgi\n",
  "plain.py": "x = 1\n",
  "g.wsgi": "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n",
  "site/asgi.py": "from django.core.asgi import get_asgi_application\napplication = get_asgi_application()\n",
};

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "pl-hint-"));
  mkdirSync(join(folder, "site"));
  for (const [name, text] of Object.entries(FILES)) writeFileSync(join(folder, name), text);
});
afterAll(() => rmSync(folder, { recursive: true }));

const either = (name: string) => `--wsgi ${name} (Flask, Django) or --asgi ${name} (FastAPI, Starlette)`;

test.each([
  ["./api.py", "is Python; run: paceline start --asgi ./api.py:api"],
  ["flasky.py", "is Python; run: paceline start --wsgi ./flasky.py:shop"],
  ["raw.py", "is Python; run: paceline start --wsgi ./raw.py:serve"],
  ["coro.py", "is Python; run: paceline start --asgi ./coro.py:main"],
  ["old.py", "is Python; run: paceline start --fapws ./old.py"],
  ["g.wsgi", "is Python; run: paceline start --wsgi ./g.wsgi:application"],
  [
    "./plain.py",
    "is Python; run: paceline start --wsgi ./plain.py:NAME (Flask, Django), --asgi ./plain.py:NAME (FastAPI, Starlette) or --fapws ./plain.py",
  ],
  ["site.asgi:application", "is a Python callable; run: paceline start --asgi site.asgi:application"],
  ["flasky:shop", "is a Python callable; run: paceline start --wsgi flasky:shop"],
  ["mysite.wsgi:application", `is a Python callable; run: paceline start ${either("mysite.wsgi:application")}`],
  ["shop:make(1)", `is a Python callable; run: paceline start ${either("'shop:make(1)'")}`],
  ["nothing.js", "there is no such file or folder"],
  ["localhost:8080", "there is no such file or folder"],
])("start %s", (target, message) => {
  expect(() => findSource(target, folder)).toThrow(message);
});
