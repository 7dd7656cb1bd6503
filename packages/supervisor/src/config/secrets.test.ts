/** Which files and credentials are secrets, what is wrong with others, and that a value is never shown. */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { formatKeyPath } from "./problems.js";
import { resolveFleet } from "./resolve.js";
import { secretWarnings, uncheckedSecrets, withoutSecretValues } from "./secrets.js";
import { validate } from "./validate.js";

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "pl-secrets-"));
  mkdirSync(join(folder, "credentials"));
  const files: [string, string | Buffer][] = [
    ["app.ts", "export default {}"],
    [".env", "TOKEN=of-the-file\n"],
    ["token", "s3cret\n"],
    ["windows", "s3cret\r\n"],
    ["lines", "a\nb\n\n"],
    ["full", "x".repeat(65_536)],
    ["long", "x".repeat(65_537)],
    ["empty", "\n"],
    ["nul", "a\0b"],
    ["latin", Buffer.from([0x61, 0xe9])],
    ["credentials/db", "of-systemd\n"],
  ];
  for (const [name, content] of files) writeFileSync(join(folder, name), content, { mode: 0o600 });
  spawnSync("mkfifo", [join(folder, "pipe")]);
});
afterAll(() => rmSync(folder, { recursive: true }));

interface Given {
  credentialsDir?: string;
  isOnlyChecked?: boolean;
}

function read(raw: object, given: Given = { credentialsDir: join(folder, "credentials") }) {
  const { input, findings } = validate({ app: "./app.ts", ...raw });
  const runtimes = { bun: "/bun", node: "/node", preferred: "bun" as const };
  const context = { baseDir: folder, listenDir: folder, defaultName: "shop", runtimes, findings, ...given };
  const config = resolveFleet(input, context);
  const problems = findings.map(({ path, message }) => `${formatKeyPath(path)}: ${message.replaceAll(folder, "HERE")}`);
  return { config, pool: config.pools[0], problems };
}

describe("a secret", () => {
  test.each([
    [{ file: "token" }, "s3cret"],
    [{ file: "./windows" }, "s3cret"],
    [{ file: "lines" }, "a\nb\n"],
    [{ file: "full" }, "x".repeat(65_536)],
    [{ credential: "db" }, "of-systemd"],
  ])("%j", (value, text) => {
    const { pool, problems } = read({ env: { TOKEN: value, A: 1 }, envFiles: ".env" });
    expect(problems).toEqual([]);
    expect(pool?.env).toEqual({ A: "1" });
    const source = "file" in value ? { file: join(folder, value.file ?? "") } : value;
    expect(pool?.secrets).toEqual({ TOKEN: { ...source, value: text } });
  });

  test("a pool's own value replaces that of the top level, whichever of them is the secret", () => {
    const app = { app: "./app.ts" };
    const pools = { a: { ...app, env: { A: "plain" } }, b: { ...app, routes: "/b", env: { B: { file: "token" } } } };
    const { config } = read({ app: undefined, env: { A: { file: "token" }, B: "plain" }, pools });
    expect(config.pools.map(({ env, secrets }) => [env, Object.keys(secrets)])).toEqual([
      [{ A: "plain", B: "plain" }, []],
      [{}, ["A", "B"]],
    ]);
  });

  test.each<[object, string]>([
    [{ file: "gone" }, "HERE/gone does not exist"],
    [{ file: "credentials" }, "HERE/credentials is not a file"],
    [{ file: "pipe" }, "HERE/pipe is not a file"],
    [{ file: "long" }, "HERE/long has more than 65536 bytes"],
    [{ file: "empty" }, "HERE/empty is empty"],
    [{ file: "nul" }, "HERE/nul contains a NUL, which a variable cannot have"],
    [{ file: "latin" }, "HERE/latin is not UTF-8 text, which a variable has to be"],
    [
      { credential: "gone" },
      'the credential "gone" in HERE/credentials does not exist; add LoadCredential=gone:/path/of/the/secret to the unit',
    ],
    ...["../token", "..", "a\nb", "a:b"].map((credential): [object, string] => [
      { credential },
      `\`credential\` must be a name of ASCII characters without "/" and ":", not ${JSON.stringify(credential)}`,
    ]),
    [{ file: "" }, '`file` must be the path of a file, not ""'],
    [{ file: "a\0b" }, '`file` must be the path of a file, not "a\\u0000b"'],
    [{ file: 3 }, "`file` must be the path of a file, not 3"],
    [{ file: "token", credential: "db" }, "must have `file` or `credential`, not both"],
    [{ fil: "token" }, 'can have `file` or `credential`, not "fil"'],
    [{}, 'must be text, a number, a boolean, { file: "path" } or { credential: "name" }, not a table'],
  ])("%j is rejected", (value, problem) => {
    expect(read({ env: { TOKEN: value } }).problems).toEqual([`env.TOKEN: ${problem}`]);
  });

  test("one of our own variables cannot be a secret", () => {
    expect(read({ env: { PACELINE_X: { file: "token" } } }).problems).toEqual([
      "env.PACELINE_X: names that begin with PACELINE_ are reserved for Paceline",
    ]);
  });

  test("a credential needs a systemd unit, but a check does not", () => {
    const env = { TOKEN: { credential: "db" } };
    expect(read({ env }, {}).problems).toEqual([
      'env.TOKEN: needs $CREDENTIALS_DIRECTORY for the credential "db": run the fleet by a systemd unit with LoadCredential=db:/path/of/the/secret, or name a file with { file: … }',
    ]);
    const checked = read({ env }, { isOnlyChecked: true });
    expect(checked.problems).toEqual([]);
    expect(uncheckedSecrets(checked.config)).toEqual([
      "the secret TOKEN was not checked: there is no $CREDENTIALS_DIRECTORY here; the fleet's unit needs LoadCredential=db:/path/of/the/secret",
    ]);
    expect(uncheckedSecrets(read({ env }).config)).toEqual([]);
    expect(read({ env: { TOKEN: { file: "gone" } } }, { isOnlyChecked: true }).problems).toHaveLength(1);
  });

  test("is never shown or stored, and a file that everybody can read causes a warning", () => {
    const { config } = read({ env: { TOKEN: { file: "token" }, DB: { credential: "db" } } });
    const shown = JSON.stringify(withoutSecretValues(config));
    expect(shown).toContain(`"secrets":{"TOKEN":{"file":"${folder}/token"},"DB":{"credential":"db"}}`);
    expect(shown).not.toMatch(/s3cret|of-systemd/);
    expect(secretWarnings(config)).toEqual([]);
    chmodSync(join(folder, "token"), 0o644);
    expect(secretWarnings(config)).toEqual([
      `every user can read ${folder}/token, the secret TOKEN; run: chmod o-r ${folder}/token`,
    ]);
  });
});
