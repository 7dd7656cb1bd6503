/** The Django project of the examples, started as in examples/README.md, in every part. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, type TestContext, test } from "vitest";
import { findPython } from "../packages/server/test/python.js";
import { endExample, startExample } from "./support/example.js";
import { type Project, type RuntimeName, startFleet } from "./support/fleet.js";
import { run } from "./support/processes.js";

/** A minimal browser for Django: cookies, manual redirects, and forms with their token. */
class Browser {
  private readonly cookies = new Map<string, string>();

  constructor(private readonly origin: string) {}

  async ask(path: string, init: RequestInit = {}): Promise<{ response: Response; text: string }> {
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join("; ");
    const headers = { cookie, referer: this.origin, ...(init.headers as Record<string, string>) };
    const response = await fetch(this.origin + path, { redirect: "manual", ...init, headers });
    for (const set of response.headers.getSetCookie()) {
      const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(set) ?? [];
      this.cookies.set(name, value);
    }
    return { response, text: await response.text() };
  }

  async token(path: string): Promise<string> {
    const { text } = await this.ask(path);
    const token = /name="csrfmiddlewaretoken" value="([^"]+)"/.exec(text)?.[1];
    if (token === undefined) throw new Error(`no form in ${text}`);
    return token;
  }

  /** Posts a form with its token. */
  async post(path: string, fields: Record<string, string | File>): Promise<{ response: Response; text: string }> {
    const form = new FormData();
    form.set("csrfmiddlewaretoken", await this.token(path));
    for (const [name, value] of Object.entries(fields)) form.set(name, value);
    return await this.ask(path, { method: "POST", body: form });
  }
}

const EXAMPLE = join(import.meta.dirname, "../examples/django");

/** The example unchanged, or in the same folder with other keys for its pool. */
async function start(context: TestContext, runtime: RuntimeName, keys: object | undefined): Promise<Project> {
  const python = findPython("django");
  if (python === undefined) context.skip("Django is not installed");
  const data = mkdtempSync(join(tmpdir(), "pl-django-"));
  onTestFinished(() => rmSync(data, { recursive: true, force: true }));
  const env = { DJANGO_DATA: data };
  if (keys === undefined) return await startExample("django", runtime, env);
  const pool = { wsgi: "mysite.wsgi:application", python, cwd: EXAMPLE, instances: 2, ...keys };
  return await startFleet({ runtime, app: "", env, config: { pools: { web: pool } } });
}

describe("Django", () => {
  const runtime = "bun";

  test.for([
    ["as the example has it", undefined],
    ["with preload and threads", { preload: true, threads: 3 }],
  ] as const)("admin, forms with their token, uploads, static files, streams: %s", async ([, keys], context) => {
    const project = await start(context, runtime, keys);
    const origin = `http://127.0.0.1:${project.port}`;
    const visitor = new Browser(origin);

    expect((await visitor.ask("/")).text).toContain("Nobody has signed yet.");

    // A form without its token is refused; with it, it is accepted.
    const forged = new FormData();
    forged.set("name", "Mallory");
    expect((await visitor.ask("/", { method: "POST", body: forged })).response.status).toBe(403);
    const signed = await visitor.post("/", { name: "Ada", text: "First! \u20ac" });
    expect(signed.response.status).toBe(302);
    expect(signed.response.headers.get("location")).toBe("/");
    expect((await visitor.ask("/")).text).toContain("First! \u20ac");
    expect((await visitor.post("/", { name: "", text: "" })).response.status).toBe(400);

    // An upload larger than any buffer on its way, and back.
    const bytes = new Uint8Array(3_000_000).map((_, n) => n % 251);
    const photo = new File([bytes], "photo.bin");
    expect((await visitor.post("/", { name: "Bob", text: "With a photo", photo })).response.status).toBe(302);
    const link = /href="(\/photos\/\d+)"/.exec((await visitor.ask("/")).text)?.[1] as string;
    const download = await fetch(origin + link);
    expect(download.headers.get("content-length")).toBe("3000000");
    expect(download.headers.get("content-disposition")).toContain('filename="photo');
    expect(Buffer.from(await download.arrayBuffer()).equals(Buffer.from(bytes))).toBe(true);
    expect((await visitor.ask("/photos/999")).response.status).toBe(404);

    // A stream has no length, and is complete.
    const stream = await visitor.ask("/entries.csv");
    expect(stream.response.headers.get("content-type")).toBe("text/csv; charset=utf-8");
    expect(stream.response.headers.has("content-length")).toBe(false);
    expect(stream.text).toBe("Ada,First! \u20ac\r\nBob,With a photo\r\n");

    const css = await visitor.ask("/static/guestbook/page.css");
    expect(css.response.headers.get("content-type")).toBe("text/css");
    const source = new URL("../examples/django/guestbook/static/guestbook/page.css", import.meta.url);
    expect(css.text).toBe(readFileSync(source, "utf8"));
    expect((await visitor.ask("/static/admin/css/base.css")).response.status).toBe(200);
    expect((await visitor.ask("/static/admin/nothing.css")).response.status).toBe(404);

    // The admin: only logged-in users get in, and every instance knows the session.
    const admin = new Browser(origin);
    expect((await admin.ask("/admin/")).response.headers.get("location")).toBe("/admin/login/?next=/admin/");
    const wrong = await admin.post("/admin/login/", { username: "admin", password: "wrong", next: "/admin/" });
    expect(wrong.text).toContain("Please enter the correct username and password");
    const login = await admin.post("/admin/login/", { username: "admin", password: "paceline", next: "/admin/" });
    expect(login.response.headers.get("location")).toBe("/admin/");
    for (let n = 0; n < 4; n++)
      expect((await admin.ask("/admin/guestbook/entry/")).text).toContain("Bob: With a photo");
    const added = await admin.post("/admin/guestbook/entry/add/", { name: "Root", text: "By hand" });
    expect(added.response.headers.get("location")).toBe("/admin/guestbook/entry/");
    expect((await visitor.ask("/")).text).toContain("By hand");

    if (keys === undefined) await endExample(project);
    else {
      expect((await project.stop()).code).toBe(0);
      await project.nothingLeft();
    }
    const changed = await run("git", ["status", "--porcelain", "examples"], { cwd: join(import.meta.dirname, "..") });
    expect(changed.stdout).not.toMatch(/django/);
  });
});
