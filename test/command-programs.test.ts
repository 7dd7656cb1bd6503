/** Third-party programs as commands: Python servers under two hosts, and one in C. */
import { describe, expect, test } from "vitest";
import { startFleet } from "./support/fleet.js";
import { failures, NO_FAILURES } from "./support/load.js";
import { needs } from "./support/processes.js";
import { get } from "./support/raw-http.js";

const BODY = "from a command\n";

const WSGI = `def app(environ, start_response):
    body = ${JSON.stringify(BODY)}.encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
`;

const LIGHTTPD = `server.document-root = var.CWD + "/site"
server.bind = env.HOST
server.port = env.PORT
index-file.names = ("index.html")
`;

const PROGRAMS: { program: string; pool: Record<string, unknown>; files: Record<string, string> }[] = [
  {
    program: "gunicorn",
    pool: { command: ["gunicorn", "--bind", "unix:{socket}", "api:app"], maxInFlight: 1 },
    files: { "api.py": WSGI },
  },
  {
    program: "uwsgi_python3",
    pool: {
      command: [
        "uwsgi_python3",
        "--http-socket",
        "{socket}",
        "--wsgi-file",
        "api.py",
        "--callable",
        "app",
        "--die-on-term",
      ],
      readyPath: "/",
      healthPath: "/",
      healthIntervalMs: 1000,
      maxInFlight: 1,
    },
    files: { "api.py": WSGI },
  },
  {
    program: "lighttpd",
    pool: { command: ["/usr/sbin/lighttpd", "-D", "-f", "lighttpd.conf"], readyPath: "/", stopSignal: "SIGINT" },
    files: { "lighttpd.conf": LIGHTTPD, "site/index.html": BODY },
  },
];

describe("programs of others", () => {
  const runtime = "bun";

  test.for(PROGRAMS)(
    "$program serves, is reloaded under load without a loss, and leaves nothing behind",
    async ({ program, pool, files }, context) => {
      needs(context, program);
      const config = { pools: { api: { instances: 2, ...pool } } };
      const project = await startFleet({ runtime, app: "", config, files });
      expect((await get(project.port)).body).toBe(BODY);
      const load = project.load({ mode: "connect-anew", clients: 4, expectBody: BODY });
      await load.moreConnections(100);
      const reloaded = await project.reload();
      expect(`${reloaded.code} ${reloaded.output}`).toMatch(/^0 /);
      await load.moreConnections(100);
      expect(failures(await load.stop())).toEqual(NO_FAILURES);
      expect((await project.stop()).code).toBe(0);
      await project.nothingLeft();
    },
  );
});
