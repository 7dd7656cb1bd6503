/** A FAPWS start script in a real fleet: every part of it, and the cases in which FAPWS itself failed. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { findPython } from "../packages/server/test/python.js";
import { endExample, startExample } from "./support/example.js";
import { Project, type RUNTIMES, startFleet } from "./support/fleet.js";
import { get, RawConnection, type Received } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

// The command line starts the first interpreter on PATH.
const hasPython = findPython() !== undefined;

const SCRIPT = `
import os, sys
sys.setcheckinterval(100000)
import fapws._evwsgi as evwsgi
from fapws import base
from fapws.contrib import headers, log, sessions, views, zip

ticks, stopped_ticks, saves = 0, 0, []
records = {}

def start():
    evwsgi.start("0.0.0.0", "8080")
    evwsgi.set_base_module(base)
    base.supported_HTTP_command.append("TRACE")

    def hello(environ, start_response):
        start_response('200 OK', [('Content-Type', 'text/html')])
        return ["Hello", " world!!"]

    def env(environ, start_response):
        start_response('200 OK', [('Content-Type', 'text/plain')])
        return ["%s|%s|%s|%s|%s" % tuple(environ[key] for key in
            ("SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "fapws.params", "REMOTE_ADDR"))]

    def uri(environ, start_response):
        return ["%s %s" % (environ["REQUEST_METHOD"], environ["fapws.uri"])]

    def lines(environ, start_response):
        start_response('404 Not Found', [('Content-Type', 'text/plain')])
        yield "Hello"
        yield " "
        yield "world!!"

    @log.Log()
    @zip.Gzip()
    def zipped(environ, start_response):
        start_response('200 OK', [('Content-Type', 'text/plain')])
        return open("long.txt", "rb")

    def bad(environ, start_response):
        raise ValueError("a secret")

    def big(environ, start_response):
        start_response('200 OK', [('Content-Type', 'text/plain')])
        for _ in range(1000):
            yield b"x" * 65536

    def visit(environ, start_response):
        cookies = base.parse_cookies(environ)
        session = sessions.Session(records.get(cookies["sessionid"].value, {}) if cookies else {})
        session.setdata((session.getdata() or 0) + 1)
        records[session.sessionid] = session.sessiondb
        session.set_cookie(start_response)
        return ["visit %d" % session.getdata()]

    def later(environ, start_response):
        for _ in range(5):
            evwsgi.defer(saves.append, environ["QUERY_STRING"], True)
        return ["%d queued" % evwsgi.defer_queue_size()]

    def told(environ, start_response):
        return ["%s %s %s %s" % (os.getpid(), ticks, stopped_ticks, saves)]

    def tick():
        global ticks
        ticks += 1

    def stopped_tick():
        global stopped_ticks
        stopped_ticks += 1

    evwsgi.wsgi_cb(("/hello", hello))
    evwsgi.wsgi_cb(("/env", env))
    evwsgi.wsgi_cb(("/uri", uri))
    evwsgi.wsgi_cb(("/lines", lines))
    evwsgi.wsgi_cb(("/zipped", zipped))
    evwsgi.wsgi_cb(("/bad", bad))
    evwsgi.wsgi_cb(("/big", big))
    evwsgi.wsgi_cb(("/visit", visit))
    evwsgi.wsgi_cb(("/later", later))
    evwsgi.wsgi_cb(("/told", told))
    evwsgi.wsgi_cb(("/static/", views.Staticfile("static/")))
    evwsgi.wsgi_cb(("/go", lambda environ, start_response: headers.redirect(start_response, "/hello?a=b c")))
    evwsgi.add_timer(0.02, tick)
    evwsgi.stop_timer(evwsgi.add_timer(0.02, stopped_tick))
    evwsgi.set_debug(0)
    evwsgi.run()

if __name__ == "__main__":
    start()
    print("the script went on after run()")
`;

const files = {
  "start.py": SCRIPT,
  "long.txt": "azerty ".repeat(10_000),
  "static/site.css": "body {}",
  "secret.txt": "a secret",
};

/** One instance, so that the order is known, unless another number is given. */
const fleet = (runtime: (typeof RUNTIMES)[number], instances = 1): Promise<Project> =>
  startFleet({ runtime, app: "", files, config: { pools: { web: { fapws: "./start.py", instances } } } });

/** Sends a request unchanged; resolves with the complete response. */
async function ask(port: number, request: string): Promise<Received> {
  const connection = await RawConnection.open(port);
  onTestFinished(() => connection.close());
  connection.write(request.replaceAll("\n", "\r\n"));
  await connection.end();
  const [head = "", body = ""] = connection.received.split(/\r\n\r\n(.*)/s);
  const fields = head.split("\r\n").slice(1);
  const headers = new Map(fields.map((field) => field.split(/: (.*)/).slice(0, 2) as [string, string]));
  return {
    status: Number(head.split(" ")[1]),
    headers: new Map([...headers].map(([k, v]) => [k.toLowerCase(), v])),
    body,
  };
}

describe("a FAPWS start script from outside", () => {
  const runtime = "bun";

  beforeEach((context) => {
    if (!hasPython) context.skip("Python 3.9 or newer is not installed");
  });

  test("is started by one option, in as many instances as one likes, and reloaded", async () => {
    const project = await Project.make({ runtime, app: "", files });
    const args = ["start", "--fapws", "./start.py", "--instances", "3", "--detach", "--runtime", runtime];
    const started = await project.cli([...args, "--listen", `127.0.0.1:${project.port}`], {
      env: project.startEnvironment(),
    });
    expect(started).toMatchObject({ code: 0 });
    expect((await project.cli(["status", "--wide"])).output).toMatch(/^web {2}fapws {2}3\/3 ready/m);
    const pids = new Set<string | undefined>();
    await waitFor("a response of each", async () => {
      return pids.add((await get(project.port, "/told")).body.split(" ")[0]).size === 3;
    });
    project.write("start.py", SCRIPT.replace('"Hello"', '"Good-bye"'));
    expect((await project.reload()).code).toBe(0);
    expect((await get(project.port, "/hello")).body).toBe("Good-bye world!!");
  });

  test("is among the examples: a guest book", async () => {
    const folder = mkdtempSync(join(tmpdir(), "pl-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const project = await startExample("fapws", runtime, { BOOK_FOLDER: folder }, ["--instances", "4"]);
    const { port } = project;
    const status = await project.status();
    expect(status.pools).toMatchObject([{ name: "web", kind: "fapws", wanted: 4, ready: 4 }]);
    expect((await get(port, "/")).body).toContain("Visit 1");
    expect((await get(port, "/static/book.css")).headers.get("content-type")).toBe("text/css; charset=utf-8");
    expect((await get(port, "/countdown")).body).toBe("3\n2\n1\ngo\n");
    const form = "name=%3CEddy%3E";
    const type = "Content-Type: application/x-www-form-urlencoded";
    const signed = await ask(port, `POST /sign HTTP/1.0\n${type}\nContent-Length: ${form.length}\n\n${form}`);
    expect(signed).toMatchObject({ status: 302 });
    await waitFor("the book to be saved", () => readdirSync(folder).some((name) => name.endsWith(".json")));
    const [book = ""] = readdirSync(folder);
    expect(JSON.parse(readFileSync(join(folder, book), "utf8"))).toEqual({ entries: ["<Eddy>"], saves: 1 });
    // Each instance has a separate guest book.
    await waitFor("the name", async () => (await get(port, "/")).body.includes("<li>&lt;Eddy&gt;"));
    await waitFor("a tick", async () => JSON.parse((await get(port, "/stats")).body).ticks > 0);
    await endExample(project);
    // The command may have to build first.
  });
});

/** The Python parts do not depend on the balancer's runtime. */
describe("a FAPWS start script", () => {
  const runtime = "bun";
  beforeEach((context) => {
    if (!hasPython) context.skip("Python 3.9 or newer is not installed");
  });

  test("serves by its callbacks and its folder, and nothing beside them", async () => {
    const project = await fleet(runtime);
    const { port } = project;
    // Callbacks.
    expect(await get(port, "/hello")).toMatchObject({ status: 200, body: "Hello world!!" });
    expect((await get(port, "/env/param?key=val&key=2")).body).toBe(
      "/env|/param|key=val&key=2|{'key': ['val', '2']}|127.0.0.1",
    );
    expect(await ask(port, "GET /lines HTTP/1.0\n\n")).toMatchObject({ status: 404, body: "Hello world!!" });
    expect((await get(port, "/wrongpage")).status).toBe(404);
    const form = "name=J%C3%BCrgen+A&name=2";
    const type = "Content-Type: application/x-www-form-urlencoded";
    const post = `POST /env HTTP/1.0\n${type}\nContent-Length: ${form.length}\n\n${form}`;
    expect((await ask(port, post)).body).toContain(Buffer.from("{'name': ['Jürgen A', '2']}").toString("latin1"));
    const chunked = `POST /env HTTP/1.1\nHost: a\nConnection: close\n${type}\nTransfer-Encoding: chunked\n\n3\na=1\n0\n\n`;
    expect((await ask(port, chunked)).body).toContain("{'a': ['1']}");
    expect(await ask(port, "GIT /hello HTTP/1.0\n\n")).toMatchObject({ status: 501 });
    const options = await ask(port, "OPTIONS / HTTP/1.0\n\n");
    expect(options.headers.get("allow")).toContain("GET, HEAD, POST");
    expect((await ask(port, "HEAD /hello HTTP/1.0\n\n")).body).toBe("");
    expect((await ask(port, "GET /go HTTP/1.0\n\n")).headers.get("location")).toBe("/hello?a=b%20c");
    // Files.
    const whole = await ask(port, "GET /static/site.css HTTP/1.0\n\n");
    expect(whole).toMatchObject({ status: 200, body: "body {}" });
    const etag = whole.headers.get("etag")?.replace("W/", "");
    expect(await ask(port, `GET /static/site.css HTTP/1.0\nIf-None-Match: ${etag}\n\n`)).toMatchObject({ status: 304 });
    expect(await ask(port, "GET /static/site.css HTTP/1.0\nRange: bytes=0-3\n\n")).toMatchObject({
      status: 206,
      body: "body",
    });
    const zipped = await ask(port, "GET /zipped HTTP/1.0\nAccept-Encoding: gzip\n\n");
    expect(gunzipSync(Buffer.from(zipped.body, "latin1")).toString()).toBe(files["long.txt"]);
    expect((await ask(port, "GET /zipped HTTP/1.0\n\n")).body).toBe(files["long.txt"]);
    for (const way of [
      "../secret.txt",
      "%2e%2e/secret.txt",
      "..%2fsecret.txt",
      "..%5csecret.txt",
      "a/../../secret.txt",
    ]) {
      const refused = await ask(port, `GET /static/${way} HTTP/1.0\n\n`);
      expect([400, 404]).toContain(refused.status);
      expect(refused.body).not.toContain("a secret");
    }
    // A failure, and the lines of the log.
    const failed = await get(project.port, "/bad");
    expect(failed.status).toBe(500);
    expect(failed.body).toContain("contact your administrator");
    expect(failed.body).not.toContain("secret");
    await get(project.port, "/zipped");
    await waitFor("the traceback and the line of the log", async () => {
      const output = await project.logs("web.1");
      return output.includes("ValueError: a secret") && /"GET \/zipped HTTP\/1\.[01]" 200 70000 /.test(output);
    });
  });

  test("gets TRACE if it wants it, and the whole URL that a proxy is asked for", async () => {
    const plain = { app: "./app.js", instances: 1, routes: ["/plain/"] };
    const project = await startFleet({
      runtime,
      app: 'export default { fetch: (request) => new Response(request.method + " " + request.url) };',
      files,
      config: { pools: { web: { fapws: "./start.py", instances: 1 }, plain } },
    });
    const { port } = project;
    for (const [line, status, body] of [
      ["GET /uri?a=%20b", 200, "GET /uri?a=%20b"],
      ["GET http://example.com:81/uri/./x?a=b", 200, "GET http://example.com:81/uri/x?a=b"],
      ["GET https://example.com/uri", 200, "GET https://example.com/uri"],
      ["TRACE /uri", 200, "TRACE /uri"],
      ["TRACE http://example.com/uri", 200, "TRACE http://example.com/uri"],
      ["TRACE /plain/", 501, "501 Not Implemented\n"],
      ["GET http://example.com/plain/x", 200, "GET http://example.com/plain/x"],
    ] as const) {
      const response = await ask(port, `${line} HTTP/1.1\nHost: other.example\nConnection: close\n\n`);
      expect([response.status, response.body], line).toEqual([status, body]);
    }
    const withBody = await ask(port, "TRACE /uri HTTP/1.1\nHost: a\nContent-Length: 1\n\nx");
    expect(withBody.status).toBe(501);
  });

  test("keeps a session, runs its timer and what it deferred, and goes on after run()", async () => {
    const project = await fleet(runtime);
    const { port } = project;
    const first = await ask(port, "GET /visit HTTP/1.0\n\n");
    const cookie = first.headers.get("set-cookie") ?? "";
    expect(first.body).toBe("visit 1");
    expect(cookie).toContain("HttpOnly");
    expect((await ask(port, `GET /visit HTTP/1.0\nCookie: ${cookie.split(";")[0]}\n\n`)).body).toBe("visit 2");
    expect((await get(port, "/later?a")).body).toBe("1 queued");
    const told = async () => (await get(port, "/told")).body.split(" ");
    await waitFor("two ticks and the deferred call", async () => {
      const [, ticks, stopped, ...saves] = await told();
      expect(stopped).toBe("0");
      return Number(ticks) >= 2 && saves.join(" ") === "['a']";
    });
    expect((await project.stop()).code).toBe(0);
    const log = readFileSync(join(project.folder, ".paceline/log/paceline.log"), "utf8");
    expect(log).toContain("the script went on after run()");
  });

  test("loses no instance to half a request or to a client that does not read", async () => {
    const { port } = await fleet(runtime, 3);
    const pids = async () => {
      const seen = new Set<string | undefined>();
      await waitFor("a response of each instance", async () => {
        seen.add((await get(port, "/told")).body.split(" ")[0]);
        return seen.size === 3;
      });
      return seen;
    };
    const before = await pids();
    // No instance gets these, nor an incomplete body.
    for (const half of ["GET /hello HT", "GET /hello HTTP/1.1\r\nHost: a\r\nX-Half"]) {
      const connection = await RawConnection.open(port);
      onTestFinished(() => connection.close());
      connection.write(half);
    }
    const form = "Content-Type: application/x-www-form-urlencoded";
    const halfPost = await RawConnection.open(port);
    halfPost.write(`POST /env HTTP/1.1\r\nHost: a\r\n${form}\r\nContent-Length: 10\r\n\r\na=1`);
    expect(await pids()).toEqual(before);
    const reader = net.connect({ host: "127.0.0.1", port });
    reader.on("error", () => undefined);
    onTestFinished(() => {
      halfPost.close();
      reader.destroy();
    });
    reader.write("GET /big HTTP/1.0\r\n\r\n");
    await waitFor("the answer to begin", () => {
      reader.read(0);
      return reader.readableLength > 0;
    });
    // The reader occupies at most one instance: its response exceeds what the balancer buffers per client.
    for (let turn = 0; turn < 6; turn++) expect((await get(port, "/hello")).body).toBe("Hello world!!");
    halfPost.close();
    reader.destroy();
    const chunked = await RawConnection.open(port);
    chunked.write(`POST /env HTTP/1.1\r\nHost: a\r\n${form}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\na=`);
    chunked.close();
    expect(await pids()).toEqual(before);
  });

  test("says why it does not start", async () => {
    const script = "import fapws._evwsgi\nprint 'hello'\n";
    const project = await Project.make({ runtime, app: "", files: { "start.py": script } });
    project.writeConfig({
      pools: {
        web: { fapws: "./start.py", instances: 1, backoff: { initialMs: 20 }, restartBudget: { maxFailures: 1 } },
      },
    });
    const started = await project.startDetached();
    expect(started).toMatchObject({ code: 1 });
    expect(started.output).toContain("start.py, line 2: Missing parentheses");
    expect(started.output).toContain("if it is written for Python 2");
  });

  test("is refused in one line where the command line is wrong", async () => {
    const project = await Project.make({ runtime, app: "", files });
    for (const [args, why] of [
      [["--fapws", "./gone.py"], "there is no such file"],
      [["./app.js", "--fapws", "./start.py"], "--fapws already names a start script: omit ./app.js"],
      [["--static", ".", "--fapws", "./start.py"], "--static cannot be combined with --fapws"],
    ] as const) {
      const refused = await project.cli(["start", ...args, "--detach"]);
      expect(refused).toMatchObject({ code: 2 });
      expect(refused.output).toContain(why);
    }
  });
});
