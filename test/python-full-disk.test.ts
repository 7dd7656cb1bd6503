/** A full disk, or a limit of its output file, costs a Python instance only log lines. */
import { expect, test } from "vitest";
import { findPython } from "../packages/server/test/python.js";
import { startFleet } from "./support/fleet.js";
import { get } from "./support/raw-http.js";

/** `fill` makes the process write without room: on a full disk (ENOSPC), or beyond a limit (EFBIG). */
const VIEWS = `
import logging, os, resource, sys
def fill(name):
    if name in ("wsgi", "fapws"):
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, 1)
        os.dup2(full, 2)
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
def chat(errors=None):
    print("x" * 100_000)
    logging.warning("a warning")
    if errors is not None:
        errors.write("said to wsgi.errors\\n")
        errors.flush()
class Broken:
    def write(self, _text):
        raise OSError(28, "No space left on device")
    def flush(self):
        self.write("")
def break_streams():
    # As one of the app's own, which writes to a file.
    sys.stdout = sys.stderr = Broken()
`;
const WSGI = `
import views
def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/fill":
        views.fill(environ["SCRIPT_NAME"].strip("/"))
    elif path == "/chat":
        views.chat(environ["wsgi.errors"])
    elif path == "/break":
        views.break_streams()
    elif path == "/raise":
        raise ValueError("raised by the view")
    if path == "/hop":
        start_response("200 OK", [("Connection", "close"), ("Content-Length", "2")])
    else:
        start_response("200 OK", [("Content-Length", "5" if path == "/short" else "2")])
    return [b"ok"]
`;
const FAPWS = `
import fapws._evwsgi as evwsgi
from fapws import base
import views
evwsgi.start("0.0.0.0", "8080")
evwsgi.set_base_module(base)
def fill(environ, start_response):
    views.fill("fapws")
    return ["ok"]
def chat(environ, start_response):
    views.chat()
    return ["ok"]
def breaks(environ, start_response):
    views.break_streams()
    return ["ok"]
def bad(environ, start_response):
    raise ValueError("raised by the callback")
def hop(environ, start_response):
    return ["ok"]
for path, callback in (("/fill", fill), ("/chat", chat), ("/break", breaks), ("/raise", bad), ("/hop", hop)):
    evwsgi.wsgi_cb((path, callback))
evwsgi.run()
`;

test("a full disk ends no Python instance: a view that raises gets 500, one that prints its response", async (context) => {
  const python = findPython();
  if (python === undefined) context.skip("Python 3.9 or newer is not installed");
  const wsgi = { wsgi: "site_app", instances: 1, stripPrefix: true, python };
  const project = await startFleet({
    runtime: "bun",
    app: "",
    files: { "views.py": VIEWS, "site_app.py": WSGI, "start.py": FAPWS },
    config: {
      pools: {
        wsgi: { ...wsgi, routes: ["/wsgi/"] },
        threads: { ...wsgi, threads: 2, routes: ["/threads/"] },
        preload: { ...wsgi, preload: true, routes: ["/preload/"] },
        fapws: { fapws: "./start.py", instances: 1, routes: ["/fapws/"], stripPrefix: true, python },
      },
    },
  });
  const pools = ["wsgi", "threads", "preload", "fapws"];
  for (const pool of pools) {
    const statuses: [string, number][] = [];
    for (const path of ["fill", "raise", "chat", "hop", "short", "raise", "break", "raise", "hop"]) {
      if (path !== "short") statuses.push([path, (await get(project.port, `/${pool}/${path}`)).status]);
      // The connection of this response ends early.
      else if (pool !== "fapws") await get(project.port, `/${pool}/${path}`).catch(() => {});
    }
    const ok = (path: string): [string, number] => [path, 200];
    const raised: [string, number] = ["raise", 500];
    expect(statuses, pool).toEqual([ok("fill"), raised, ok("chat"), ok("hop"), raised, ok("break"), raised, ok("hop")]);
  }
  const status = await project.status();
  for (const { name, instances } of status.pools)
    expect(instances, name).toMatchObject([{ attempt: 1, restarts: 0, lastExit: null, state: "ready" }]);
});
