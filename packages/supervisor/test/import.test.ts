/** `paceline import` and `init` on real files: what they write passes `check` and serves, and nothing is overwritten. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import http from "node:http";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { canBeKept, canBeKeptToo, runKept } from "../../../test/support/commands.js";
import { freePort } from "../../../test/support/ports.js";
import { makeFolder, PACELINE, run } from "./support.js";

const APP = "require('node:http').createServer((q, s) => s.end('Hello World!')).listen(process.env.PORT);\n";
/** Prints, and does not exit by itself, as code of users may do. */
const MODULE = `
console.log("reading the ecosystem file");
setInterval(() => {}, 1000);
const apps = [{ name: "shop", script: "app.cjs", instances: 2, watch: true, env: { PORT: 4000 + 1 } }];
`;
const JSON5 = "// comment\n{ apps: [{ name: 'shop', script: 'app.cjs', instances: 2, env: { PORT: 4001 }, }] }\n";
const YAML = "apps:\n  - { name: shop, script: app.cjs, instances: 2, env: { PORT: 4001 } }\n";
const SHOP = { name: "shop", listen: "127.0.0.1:4001", app: "./app.cjs", instances: 2, env: { PORT: "4001" } };

function paceline(cwd: string, args: string[]) {
  // Python writes its caches, as on a user's machine.
  const env = { ...process.env, PACELINE_RUNTIME: "bun", PYTHONDONTWRITEBYTECODE: "" };
  return canBeKept(args) || canBeKeptToo(args) ? runKept(args, cwd, env) : run(PACELINE, args, { cwd, env });
}

test.each([
  ["ecosystem.config.cjs", `${MODULE}module.exports = { apps };`, "bun"],
  ["ecosystem.config.cjs", `${MODULE}module.exports = { apps };`, "node"],
  ["ecosystem.config.mjs", `${MODULE}export default { apps };`, "bun"],
  ["other.mjs", `${MODULE}export { apps };`, "node"],
  ["ecosystem.json", JSON5, "bun"],
  ["ecosystem.config.yml", YAML, "bun"],
])("%s: %# the same app in each form", async (name, text, runtime) => {
  const folder = makeFolder({ "app.cjs": APP, [name]: text });
  const args = ["import", name, "-o", "shop.json", "--json"];
  const env = { ...process.env, PACELINE_RUNTIME: runtime };
  const { code, stdout, stderr } = await run(PACELINE, args, { cwd: folder, env });
  expect({ code, stderr: stderr.replace("reading the ecosystem file\n", "") }).toEqual({ code: 0, stderr: "" });
  expect(JSON.parse(stdout)).toMatchObject({ ok: true, file: join(folder, "shop.json"), config: SHOP, problems: [] });
  expect(JSON.parse(readFileSync(join(folder, "shop.json"), "utf8"))).toEqual(SHOP);
});

test("an import names what has no counterpart, does not count as a fleet's config before it is written, and passes check", async () => {
  const folder = makeFolder({ "app.cjs": APP, "ecosystem.config.cjs": `${MODULE}module.exports = apps;` });
  expect((await paceline(folder, ["start", "ecosystem.config.cjs"])).stderr).toMatch(
    /run: paceline import ecosystem\.config\.cjs/,
  );
  const { code, stdout } = await paceline(folder, ["import"]);
  expect({ code, stdout }).toEqual({
    code: 0,
    stdout: expect.stringMatching(
      /^wrote paceline\.config\.mjs: shop\n[\s\S]*shop: watch +[\s\S]*--watch[\s\S]*next: paceline check, then/,
    ),
  });
  const checked = await paceline(folder, ["check"]);
  expect(checked).toMatchObject({ code: 0, stdout: expect.stringMatching(/^OK: shop: 2 instances of app\.cjs/) });
  const before = readFileSync(join(folder, "paceline.config.mjs"), "utf8");
  // The notes are in the file, too.
  expect(before).toMatch(/^\/\/ shop: watch: /m);
  const misnamed = await paceline(folder, ["import", "-o", "a.mjs"]);
  expect(misnamed).toMatchObject({ code: 2, stderr: expect.stringMatching(/must contain "paceline\.config\."/) });
  expect(existsSync(join(folder, "a.mjs"))).toBe(false);
  const elsewhere = await paceline(folder, ["import", "-o", "sub/shop.json"]);
  expect(elsewhere).toMatchObject({ code: 2, stderr: expect.stringMatching(/--output must be in /) });
  const again = await paceline(folder, ["import"]);
  expect(again).toMatchObject({ code: 1, stderr: expect.stringMatching(/exists; --force overwrites it/) });
  const other = await paceline(folder, ["init", "--json"]);
  expect(other).toMatchObject({ code: 2, stdout: expect.stringMatching(/run `paceline import ecosystem/) });
  expect(readFileSync(join(folder, "paceline.config.mjs"), "utf8")).toBe(before);
  expect((await paceline(folder, ["import", "--force"])).code).toBe(0);
});

test("an import whose config does not pass check reports that and exits with 1; files that fail exit with 2", async () => {
  const folder = makeFolder({
    "gone.config.cjs": "module.exports = [{ script: 'gone.js' }];",
    "throws.config.cjs": "throw new Error('no vault');",
    "wrong.config.cjs": "module.exports = {\n  apps: [{ name: 'a' script: 'b' }],\n};\n",
    "broken.json": "{ apps: [ }",
    "broken.yml": "apps:\n  - a: b: c\n",
    "fails.py": "raise RuntimeError('no vault')\n",
    "notes.txt": "",
  });
  const gone = await paceline(folder, ["import", "gone.config.cjs"]);
  expect(gone).toMatchObject({ code: 1, stderr: expect.stringMatching(/gone\.js/) });
  expect(existsSync(join(folder, "paceline.config.mjs"))).toBe(true);
  for (const [name, said] of [
    ["throws.config.cjs", /throws\.config\.cjs: threw [\s\S]*no vault/],
    ["wrong.config.cjs", /^paceline: wrong\.config\.cjs:2:22: syntax error: .*\n$/],
    ["broken.json", /^paceline: broken\.json: is no JSON: .*\n$/],
    ["fails.py", /fails\.py: raised RuntimeError: no vault/],
    ["notes.txt", /is not one of ecosystem\.config\.js/],
    ["broken.yml", /^paceline: broken\.yml: Nested mappings .*\n$/],
    [".", /is a folder: name a file in it\n$/],
    ["/dev/null", /is not a regular file\n$/],
    ["nope.js", /there is no such file/],
  ] as const) {
    const { code, stderr } = await paceline(folder, ["import", name, "--app", "a:b", "--stdout"]);
    expect({ name, code, stderr }).toEqual({ name, code: 2, stderr: expect.stringMatching(said) });
  }
});

test("a Procfile with a PORT in .env in the same folder; options of PM2 are rejected", async () => {
  const folder = makeFolder({ "app.cjs": APP, Procfile: "web: node app.cjs\n", ".env": "A=1\nPORT='4001' # ours\n" });
  const { code, stdout } = await paceline(folder, ["import", "--json"]);
  expect({ code, ...(JSON.parse(stdout) as object) }).toMatchObject({
    ...{ code: 0, problems: [] },
    config: { listen: "127.0.0.1:4001", envFiles: [".env"], app: "./app.cjs" },
  });
  const env = await paceline(folder, ["import", "Procfile", "--env", "production"]);
  expect(env).toMatchObject({ code: 2, stderr: expect.stringMatching(/--env is for an ecosystem file of PM2/) });
});

test("gunicorn.conf.py is run by Python, in its folder", async () => {
  const settings =
    'import os\nworkers = len(os.listdir("."))\nbind = "127.0.0.1:9001"\ndef post_fork(server, worker): pass\nunknown = 1\n';
  const site = 'def app(environ, start_response):\n    start_response("200 OK", [])\n    return [b"hi"]\n';
  const folder = makeFolder({ "conf/gunicorn.conf.py": settings, "conf/site_app.py": site });
  const { code, stdout, stderr } = await paceline(folder, [
    "import",
    "conf/gunicorn.conf.py",
    "--app",
    "site_app:app",
    "--json",
  ]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const { config, notes } = JSON.parse(stdout) as { config: object; notes: { key: string }[] };
  expect(config).toEqual({ listen: "127.0.0.1:9001", wsgi: "site_app:app", instances: 2 });
  expect(notes.map(({ key }) => key)).toEqual(["post_fork", "unknown", "python"]);
  expect(readdirSync(join(folder, "conf"))).toContain("paceline.toml");
});

test("init writes a config that serves, and never twice", async () => {
  const folder = makeFolder({ "app.cjs": APP, "package.json": '{ "scripts": { "start": "node app.cjs" } }\n' });
  expect(await paceline(folder, ["init"])).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(
      /^wrote paceline\.config\.mjs for the start script of package\.json\nnext: paceline start\n$/,
    ),
  });
  const text = readFileSync(join(folder, "paceline.config.mjs"), "utf8");
  // A comment before each key.
  expect(text.match(/^ {2}\w+:/gm)?.length).toBe(text.match(/^ {2}\/\/ /gm)?.length);
  expect(await paceline(folder, ["init"])).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/paceline\.config\.mjs exists; --force overwrites it\n$/),
  });
  expect((await paceline(folder, ["init", "--force"])).code).toBe(0);
  const site = await paceline(makeFolder({ "index.html": "hi\n" }), ["init"]);
  expect(site).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/move the site's files into public, or run its build, then/),
  });
  const jobs = makeFolder({ "index.js": "setInterval(() => {}, 1000);\n" });
  expect(await paceline(jobs, ["init"])).toMatchObject({ code: 0, stderr: "" });
  expect(await paceline(jobs, ["check"])).toMatchObject({ code: 0, stdout: expect.stringMatching(/^OK: /) });
  const port = await freePort();
  onTestFinished(async () => void (await paceline(folder, ["stop"])));
  const started = await paceline(folder, ["start", "-d", "-p", `${port}`, "-i", "1"]);
  expect(started).toMatchObject({ code: 0 });
  const body = await new Promise((resolve, reject) => {
    http
      .get(
        { port, host: "127.0.0.1", agent: false },
        (response) => void response.setEncoding("utf8").once("data", resolve),
      )
      .on("error", reject);
  });
  expect(body).toBe("Hello World!");
});
