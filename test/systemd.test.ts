/** A fleet under a real systemd: up when it is ready, reloaded, watched and stopped as its unit says. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, type TestContext, test } from "vitest";
import { HELLO } from "./support/apps.js";
import { PACELINE, Project, RUNTIMES } from "./support/fleet.js";
import { freePort } from "./support/ports.js";
import { type Finished, needs, run } from "./support/processes.js";
import { get } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

/** Waits for a file before it is ready; shows what it got from the supervisor's environment. */
const APP = `
import { existsSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
export default {
  async start() { while (!existsSync("gate")) await setTimeout(20); },
  fetch: (request) => request.url.endsWith("/pid") ? new Response(String(process.pid)) : Response.json(["NOTIFY_SOCKET", "WATCHDOG_USEC"].map((name) => process.env[name] ?? null)),
};
`;
const BROKEN = "throw new Error('no database');\n";
const MANAGER = "/lib/systemd/systemd";
/** In a unit of a user manager, systemd cannot provide the sandbox of a system unit. */
const SANDBOX =
  /^(?:User|AmbientCapabilities|CapabilityBoundingSet|Private|Protect|Restrict(?!Prevent)|RemoveIPC|Lock|NoNew|SystemCall).*\n/gm;

test("the printed unit satisfies systemd, exposes little and restarts nothing that is configured wrongly", async (context) => {
  needs(context, "systemd-analyze");
  const project = await Project.make({ runtime: "bun", app: APP });
  const low = { listen: [":80", ":443", "unix:/run/shop/web.sock"], env: { TOKEN: { credential: "token" } } };
  for (const [config, lines] of [
    [{}, ["CapabilityBoundingSet=", "ProtectControlGroups=yes"]],
    [{ maxMemoryMb: 300 }, ["Delegate=memory"]],
    [
      low,
      [
        "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
        "RuntimeDirectory=shop",
        "LoadCredential=token:/etc/credstore/token",
      ],
    ],
  ] as const) {
    project.writeConfig(config);
    const unit = await exported(project);
    expect(unit).toMatch(/^TimeoutStopSec=56$/m);
    expect(unit.split("\n")).toEqual(expect.arrayContaining([...lines]));
    const file = join(project.folder, "shop.service");
    writeFileSync(file, unit);
    const { code, output } = await run("systemd-analyze", ["verify", file]);
    expect(code).toBe(0);
    // systemd knows this key from version 254 on.
    expect(output.replace(/.*Unknown key.* 'DelegateSubgroup' in section .*, ignoring\.\n?/, "")).toBe("");
    const exposure = await run("systemd-analyze", ["security", "--offline=yes", "--threshold=40", file]);
    expect(exposure.code, exposure.output).toBe(0);
  }
});

test("a unit is up when all are ready, tells failed reloads, and a hung supervisor is replaced", async (context) => {
  const project = await Project.make({ runtime: "bun", app: APP });
  const systemd = await UserManager.start(context, join(project.folder, "xdg"));
  const unit = (await exported(project)).replace(SANDBOX, "").replace(/^WatchdogSec=.*$/m, "WatchdogSec=14");
  await systemd.install("shop.service", unit);

  await systemd.control("start", "--no-block", "shop");
  await waitFor("the app to be started", async () => (await systemd.mainPid()) > 0);
  expect(await systemd.show("ActiveState")).toBe("activating");
  project.write("gate", "");
  await systemd.until("ActiveState", "active");
  await systemd.until("StatusText", "web 2/2 ready");
  expect(JSON.parse((await get(project.port)).body)).toEqual([null, null]);

  expect(await systemd.control("reload", "shop")).toMatchObject({ code: 0 });
  project.write("app.js", BROKEN);
  expect((await systemd.control("reload", "shop")).code).not.toBe(0);
  await waitFor("the failure in the status", async () =>
    (await systemd.show("StatusText")).startsWith("the last reload failed: "),
  );
  expect(await systemd.show("ActiveState")).toBe("active");

  project.write("app.js", APP);
  // After a kill it gets its processes back, and the listening sockets from systemd, with which it starts another balancer.
  const pids = async () => {
    const seen = new Set<string>();
    // A new balancer may send its first requests to the instance that it is connected to first.
    await waitFor("both instances", async () => {
      seen.add((await get(project.port, "/pid")).body);
      return seen.size >= 2;
    });
    return [...seen].sort();
  };
  const serving = await pids();
  process.kill(await systemd.mainPid(), "SIGKILL");
  await systemd.until("NRestarts", "1");
  await systemd.until("ActiveState", "active");
  expect(await pids()).toEqual(serving);
  const runDir = /PACELINE_RUN_DIR=(\S+)/.exec(await systemd.show("Environment"))?.[1] ?? "";
  const balancer = await run(PACELINE, ["restart", "balancer", "--run-dir", runDir]);
  expect(balancer.code, balancer.output).toBe(0);
  expect(await pids()).toEqual(serving);

  process.kill(await systemd.mainPid(), "SIGSTOP");
  await systemd.until("NRestarts", "2");
  await systemd.until("ActiveState", "active");
  expect(JSON.parse((await get(project.port)).body)).toEqual([null, null]);

  expect(await systemd.control("stop", "shop")).toMatchObject({ code: 0 });
  expect([await systemd.show("ActiveState"), await systemd.show("Result")]).toEqual(["inactive", "success"]);

  const startup = (...args: string[]) =>
    run(PACELINE, ["startup", project.folder, "--user", ...args], { env: systemd.env });
  const installed = await startup();
  expect(installed.output).toMatch(/systemd\/user\/test.service was written and is enabled: .*\n.*enable-linger\n/);
  expect((await startup()).output).toContain("is installed already and is enabled");
  expect((await systemd.control("is-enabled", "test")).stdout.trim()).toBe("enabled");
  expect(await systemd.control("start", "test")).toMatchObject({ code: 0 });
  expect((await get(project.port)).status).toBe(200);
  expect((await startup("--remove")).output).toContain("was disabled and removed; a fleet that runs continues");
  expect(await systemd.control("stop", "test")).toMatchObject({ code: 0 });
  expect((await systemd.control("start", "test")).code).not.toBe(0);

  project.write("paceline.config.json", '{ "instnces": 2 }');
  expect((await systemd.control("start", "shop")).code).not.toBe(0);
  expect([await systemd.show("ActiveState"), await systemd.show("NRestarts")]).toEqual(["failed", "0"]);
});

for (const runtime of RUNTIMES)
  test(`on ${runtime} no connection is refused during a restart if systemd listens`, async (context) => {
    const project = await Project.make({ runtime, app: HELLO });
    const systemd = await UserManager.start(context, join(project.folder, "xdg"));
    const environment = `Environment=PACELINE_RUNTIME=${runtime}\n`;
    const unit = (await exported(project)).replace(SANDBOX, "").replace("KillMode", `${environment}KillMode`);
    await systemd.install("shop.service", unit);
    await systemd.install("shop.socket", `[Socket]\nListenStream=127.0.0.1:${project.port}\n`);
    expect(await systemd.control("start", "shop.socket")).toMatchObject({ code: 0 });
    const ask = async () => (await get(project.port)).status;
    expect(await ask()).toBe(200);
    const before = await systemd.mainPid();

    let isOver = false;
    const seen: (number | string)[] = [];
    const asking = Promise.all(
      [1, 2, 3, 4].map(async () => {
        while (!isOver) {
          seen.push(await ask().catch((error: Error) => error.message));
          await new Promise((resolve) => setTimeout(resolve, 40));
        }
      }),
    );
    expect(await systemd.control("restart", "shop")).toMatchObject({ code: 0 });
    isOver = true;
    await asking;
    expect(await systemd.mainPid()).not.toBe(before);
    expect(new Set(seen)).toEqual(new Set([200]));

    project.writeConfig({ listen: [`127.0.0.1:${await freePort()}`] });
    expect((await systemd.control("restart", "shop")).code).not.toBe(0);
    expect(await systemd.show("ExecMainStatus")).toBe("2");
    expect(await systemd.control("stop", "shop.socket")).toMatchObject({ code: 0 });
  });

async function exported(project: Project): Promise<string> {
  const { code, stdout, output } = await run(PACELINE, ["export", "systemd", project.folder, "--user", "root"]);
  expect(code, output).toBe(0);
  return stdout;
}

/** A service manager only for this test. */
class UserManager {
  readonly env: NodeJS.ProcessEnv;

  private constructor(private readonly folder: string) {
    this.env = { ...process.env, XDG_RUNTIME_DIR: folder, HOME: folder, SYSTEMD_LOG_TARGET: "null" };
  }

  /** Skips the test, with the reason, where it does not run. */
  static async start(context: TestContext, folder: string): Promise<UserManager> {
    if (process.getuid?.() !== 0) context.skip("needs root, for a mount of its own at /run/systemd");
    if (!existsSync(MANAGER)) context.skip("systemd is not installed");
    needs(context, "unshare");
    mkdirSync(join(folder, "systemd/user"), { recursive: true, mode: 0o700 });
    const manager = new UserManager(folder);
    // Without this folder it assumes that the machine runs without systemd.
    const script = `mkdir -p /run/systemd && mount -t tmpfs none /run/systemd && mkdir /run/systemd/system && exec ${MANAGER} --user`;
    const options = { env: manager.env, stdio: "ignore" } as const;
    const child = spawn("unshare", ["--mount", "--propagation", "private", "sh", "-c", script], options);
    onTestFinished(() => end(child));
    const isUp = async () => {
      if (child.exitCode !== null) return "ended";
      return (await manager.control("show", "--property", "Version")).code === 0 && "up";
    };
    if ((await waitFor("systemd", isUp)) === "ended") context.skip("systemd --user does not run on this machine");
    return manager;
  }

  async install(name: string, unit: string): Promise<void> {
    writeFileSync(join(this.folder, `systemd/user/${name}`), unit);
    expect(await this.control("daemon-reload")).toMatchObject({ code: 0 });
  }

  control(...args: string[]): Promise<Finished> {
    return run("systemctl", ["--user", "--no-pager", ...args], { env: this.env });
  }

  async show(property: string): Promise<string> {
    return (await this.control("show", "--value", "--property", property, "shop")).stdout.trim();
  }

  async mainPid(): Promise<number> {
    return Number(await this.show("MainPID"));
  }

  until(property: string, value: string): Promise<unknown> {
    return waitFor(`${property} to be ${value}`, async () => (await this.show(property)) === value);
  }
}

/** Stops the manager, which stops its units. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGTERM");
  await once(child, "exit");
}
