/** Secrets of a running fleet: its processes have them, nothing else has them, and a reload reads them again. */
import { chmodSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { startFleet } from "./support/fleet.js";
import { get } from "./support/raw-http.js";

/** Proves that it has a secret without showing it. */
const APP = `import { createHash } from "node:crypto";
const of = (name) => createHash("sha256").update(process.env[name] ?? "").digest("hex").slice(0, 6);
export default { fetch: () => new Response([of("TOKEN"), of("DB"), process.env.DB?.length].join(" ")) };
`;
const SECRETS = /s3cret|of-systemd/;

// Secrets are read, passed on and hidden by the same code on both runtimes.
test("secrets", async () => {
  const project = await startFleet({
    ...{ runtime: "bun", instances: 1, app: APP },
    files: { token: "s3cret-1\n", "credentials/db": "of-systemd" },
    config: { env: { TOKEN: { file: "token" }, DB: { credential: "db" } } },
    env: { CREDENTIALS_DIRECTORY: "credentials" },
  });
  const first = (await get(project.port)).body;
  expect(first).toMatch(/^\w{6} \w{6} 10$/);
  expect(await project.events()).toMatch(/every user can read \S+\/token, the secret TOKEN; run: chmod o-r/);

  project.write("token", "s3cret-2\n");
  chmodSync(join(project.folder, "token"), 0o600);
  expect(await project.reload()).toMatchObject({ code: 0 });
  const second = (await get(project.port)).body;
  expect(second).not.toBe(first);

  rmSync(join(project.folder, "token"));
  const refused = await project.cli(["reload"]);
  expect(refused.code).toBe(2);
  expect(refused.output).toMatch(/paceline\.config\.json:\d+: env\.TOKEN: \S+\/token does not exist/);
  expect((await get(project.port)).body).toBe(second);
  expect((await project.cli(["start", "--detach"], { env: project.startEnvironment() })).code).toBe(2);

  project.write("token", "s3cret-2\n");
  expect((await project.cli(["check", "--no-load"])).output).toMatch(
    /warning: the secret DB was not checked: .*LoadCredential=db:/,
  );
  const shown = [
    await project.cli(["check", "--json"]),
    await project.cli(["status", "--json"]),
    await project.events(),
    await project.logs(),
    ...filesIn(project.runDir),
  ];
  expect(shown.length).toBeGreaterThan(5);
  for (const each of shown) expect(JSON.stringify(each)).not.toMatch(SECRETS);
});

/** Returns what each file below a folder contains, with its name. */
function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name, parentPath }) => `${name}: ${readFileSync(join(parentPath, name), "latin1")}`);
}
