/** `paceline -H`: commands on several machines, over a script in place of ssh, and over a real sshd. */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { hostname, tmpdir, userInfo } from "node:os";
import { delimiter, join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { HELLO } from "./support/apps.js";
import { PACELINE, sharedFleet, startFleet } from "./support/fleet.js";
import { freePort } from "./support/ports.js";
import { run } from "./support/processes.js";
import { waitFor } from "./support/wait.js";

/** Runs the command as sshd does: with a shell, in the "home" of the machine. */
const FAKE_SSH = `#!/bin/sh
[ "$1" = -t ] && shift
echo "$1" >> "$BOXES/called"
host=\${1#ssh://}; host=\${host#*@}; host=\${host%:*}
[ -d "$BOXES/$host" ] || { echo "ssh: Could not resolve hostname $host" >&2; exit 255; }
cd "$BOXES/$host" && exec sh -c "$2"
`;

function makeFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "pl-boxes-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return folder;
}

const PLACE = ["--run-dir", ".paceline"];
const FLEET = { runtime: "bun", instances: 1, app: HELLO } as const;

describe("commands on other machines", () => {
  const first = sharedFleet(FLEET);

  test("box by box, each line with its box; a refusal ends it, and is its exit status", async () => {
    const boxes = makeFolder();
    mkdirSync(join(boxes, "bin"));
    writeFileSync(join(boxes, "bin/ssh"), FAKE_SSH, { mode: 0o755 });
    symlinkSync(PACELINE, join(boxes, "bin/paceline"));
    const [one, two] = [first(), await startFleet(FLEET)];
    for (const [at, { folder }] of [one, two].entries()) symlinkSync(folder, join(boxes, `box${at + 1}`));
    const PATH = `${join(boxes, "bin")}${delimiter}${process.env.PATH}`;
    const { PACELINE_RUN_DIR: _, ...inherited } = process.env;
    const env = { ...inherited, BOXES: boxes, PATH, GITHUB_ACTOR: "octocat" };
    const on = (...args: string[]) => run(PACELINE, args, { cwd: boxes, env });
    const both = ["-H", "box1", "-H", "ssh://deploy@box2:2222"];
    const called = () => {
      const names = readFileSync(join(boxes, "called"), "utf8").trim().split("\n");
      rmSync(join(boxes, "called"));
      return names;
    };

    const status = await on(...both, "status", ...PLACE);
    expect(status, status.output).toMatchObject({ code: 0, stderr: "" });
    for (const line of status.stdout.trim().split("\n")) expect(line).toMatch(/^(box1|deploy@box2:2222) \| /);
    expect(called()).toEqual(["box1", "ssh://deploy@box2:2222"]);
    // Their JSON: a line for each machine, and for one machine the document itself.
    const json = (await on("--parallel", ...both, "status", ...PLACE, "--json")).stdout.trim().split("\n");
    const documents = json.map((line) => JSON.parse(line)).sort((a, b) => (a.host < b.host ? -1 : 1));
    expect(documents).toMatchObject([
      { host: "box1", exitStatus: 0, document: { name: "test", state: "running" } },
      { host: "deploy@box2:2222", exitStatus: 0, document: { name: "test", state: "running" } },
    ]);
    expect(JSON.parse((await on("-H", "box1", "status", ...PLACE, "--json")).stdout)).toMatchObject({ name: "test" });
    called();

    const reloaded = await on(...both, "reload", ...PLACE);
    expect(reloaded, reloaded.output).toMatchObject({ code: 0 });
    const done = reloaded.stdout.split("\n").filter((line) => line.endsWith("| web: reload done, 1 of 1"));
    expect(done.map((line) => line.split(" ")[0])).toEqual(["box1", "deploy@box2:2222"]);
    const entry = JSON.parse(readFileSync(join(two.runDir, "history/2-reload.json"), "utf8"));
    expect(entry.by).toMatchObject({ user: userInfo().username, actor: `octocat@${hostname()}` });

    // A reason reaches the machine unchanged, whatever a shell would do with it.
    const reason = 'it\'s $HOME `x` \\ "y" * \u2028 \u2029';
    expect(await on("-H", "box1", "lock", reason, ...PLACE)).toMatchObject({ code: 0 });
    expect((await one.status()).lock?.reason).toBe(reason);
    // A document of one line stays one line.
    const locked = (await on(...both, "status", ...PLACE, "--json")).stdout.trim().split("\n");
    expect(JSON.parse(locked[0] ?? "").document.lock.reason).toBe(reason);
    called();
    const refused = await on(...both, "reload", ...PLACE);
    expect(refused.code).toBe(5);
    expect(refused.stderr).toMatch(/^box1 \| paceline: the fleet is locked by /);
    expect(refused.stderr).toContain("box1 refused (exit status 5); not run on deploy@box2:2222\n");
    expect(called()).toEqual(["box1"]);
    expect((await two.status()).pools[0]?.generation).toBe(2);

    // A command that only reads continues with the next machine.
    const some = await on("-H", "nowhere", "-H", "box1", "history", "-n", "1", ...PLACE);
    expect(some.code).toBe(1);
    expect(some.stderr).toBe(
      "nowhere | ssh: Could not resolve hostname nowhere\npaceline: nowhere: ssh could not run the command there\n",
    );
    expect(some.stdout).toMatch(/^box1 \| .* WHO /);
    const missing = await run(PACELINE, ["-H", "box1", "status"], {
      cwd: boxes,
      env: { ...env, PACELINE_REMOTE: "nope" },
    });
    expect(missing).toMatchObject({ code: 1, stderr: expect.stringContaining("set PACELINE_REMOTE") });
    expect(await on("--ssh", "/no/ssh", "-H", "box1", "status")).toMatchObject({
      ...{ code: 1, stderr: "paceline: box1: /no/ssh cannot be run: there is no such program\n" },
    });
    expect(await on("status", "-H", "box1")).toMatchObject({
      code: 2,
      output: expect.stringContaining("before the command"),
    });
    expect(JSON.parse((await on("-H", "box1", "start", "--json")).stdout)).toMatchObject({ ok: false, code: "usage" });
  });

  test("over a real sshd", async (context) => {
    const sshd = "/usr/sbin/sshd";
    if (!existsSync(sshd)) return context.skip("openssh-server is not installed");
    const folder = makeFolder();
    const port = await freePort();
    const file = (name: string, text: string, mode = 0o600) => {
      writeFileSync(join(folder, name), text, { mode });
      return join(folder, name);
    };
    for (const name of ["host", "user"])
      expect(await run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", join(folder, name)])).toMatchObject({
        code: 0,
      });
    file("authorized", readFileSync(join(folder, "user.pub"), "utf8"));
    file("known", `[127.0.0.1]:${port} ${readFileSync(join(folder, "host.pub"), "utf8")}`);
    const project = first();
    expect((await project.cli(["unlock"])).code).toBe(0);
    const daemon = file(
      "sshd_config",
      `ListenAddress 127.0.0.1:${port}\nHostKey ${folder}/host\nAuthorizedKeysFile ${folder}/authorized\nPidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\nSetEnv PATH=${process.env.PATH}\n`,
    );
    const client = file(
      "ssh_config",
      `IdentityFile ${folder}/user\nUserKnownHostsFile ${folder}/known\nBatchMode yes\n`,
    );
    const ssh = file("ssh", `#!/bin/sh\nexec ssh -F ${client} "$@"\n`, 0o700);
    if (process.getuid?.() === 0) mkdirSync("/run/sshd", { recursive: true, mode: 0o755 });
    const child = spawn(sshd, ["-D", "-e", "-f", daemon], { stdio: ["ignore", "ignore", "pipe"] });
    onTestFinished(() => void child.kill());
    let log = "";
    child.stderr.setEncoding("utf8").on("data", (text) => {
      log += text;
    });
    await waitFor("sshd", () => /Server listening|exit|fatal|error/i.test(log), { details: () => log });
    if (!log.includes("Server listening")) return context.skip(`sshd does not run here: ${log}`);
    const env = { ...process.env, PACELINE_SSH: ssh, PACELINE_REMOTE: PACELINE, PACELINE_ACTOR: "ann" };
    const host = `ssh://${userInfo().username}@127.0.0.1:${port}`;
    const on = (...args: string[]) => run(PACELINE, ["-H", host, ...args, "--run-dir", project.runDir], { env });
    const reloaded = await on("reload");
    expect(reloaded, reloaded.output + log).toMatchObject({ code: 0 });
    expect(reloaded.stdout).toContain("| web: reload done, 1 of 1\n");
    const { history } = JSON.parse((await project.cli(["history", "--json", "-n", "1"])).stdout);
    expect(history[0]).toMatchObject({ command: "reload" });
    expect(history[0].by).toMatchObject({ from: "127.0.0.1", actor: `ann@${hostname()}` });
    expect(JSON.parse((await on("status", "--json")).stdout)).toMatchObject({ name: "test" });
  });
});
