/** A reload loads code, env files and configuration again; an invalid configuration changes nothing. */
import { renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { HELLO } from "./support/apps.js";
import { Project, RUNTIMES, startFleet } from "./support/fleet.js";
import { signal } from "./support/processes.js";
import { get, RawConnection } from "./support/raw-http.js";
import { testOnce } from "./support/test-once.js";
import { waitFor } from "./support/wait.js";

/** Returns a word from the code, one from the env file and one from the configuration. */
function app(word: string): string {
  return `export default { fetch: () => new Response(["${word}", process.env.FROM_FILE, process.env.FROM_CONFIG].join(" ")) };\n`;
}

describe.each(RUNTIMES)("reload on %s", (runtime) => {
  const once = testOnce(runtime);

  test("reads code, env files and configuration afresh, and changes nothing if that is wrong", async () => {
    const config = { envFiles: [".env"], env: { FROM_CONFIG: "config-1" } };
    const files = { ".env": "FROM_FILE=file-1\n" };
    const project = await startFleet({ runtime, app: app("code-1"), config, files });
    expect((await get(project.port)).body).toBe("code-1 file-1 config-1");

    project.write("app.js", app("code-2"));
    project.write(".env", "FROM_FILE=file-2\n");
    project.writeConfig({ env: { FROM_CONFIG: "config-2" }, instances: 3 });
    const reloaded = await project.cli(["reload"]);
    expect(`${reloaded.code} ${reloaded.output}`).toMatch(/^0 /);
    // Each of the three instances gets a request.
    for (let turn = 0; turn < 3; turn++) expect((await get(project.port)).body).toBe("code-2 file-2 config-2");
    const status = await project.ready();
    expect(status.pools[0]).toMatchObject({ wanted: 3, ready: 3 });

    // An invalid config exits with 2, and changes nothing.
    project.writeConfig({ instnaces: 3 });
    const refused = await project.cli(["reload"]);
    expect(refused).toMatchObject({ code: 2, output: expect.stringContaining("instnaces") });
    const after = await project.status();
    expect(after.pools[0]?.instances.map(({ pid }) => pid)).toEqual(status.pools[0]?.instances.map(({ pid }) => pid));
    expect((await get(project.port)).body).toBe("code-2 file-2 config-2");
  });

  // On Node, replacement.test.ts covers it under load, and start-and-stop.test.ts holds a request over a drain.
  once("and a restart, of the instances and of the balancer, finish what is under way", async () => {
    const project = await startFleet({ runtime, app: HELLO, config: { drainTimeoutMs: 60_000 } });
    const waits = /(web|balancer)\.\d.* the outgoing process has \d requests? in flight and \d+ s at most to finish/g;
    const told = async () => (await project.events()).match(waits)?.length ?? 0;
    for (const operate of [() => project.reload(), () => project.restart(), () => project.restart("balancer")]) {
      rmSync(join(project.folder, "released"), { force: true });
      const before = await told();
      // POST requests are never sent twice, so a loss is visible.
      const slow = await Promise.all(Array.from({ length: 4 }, () => RawConnection.open(project.port)));
      for (const connection of slow) {
        connection.write("POST /held HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
      }
      await project.statusWhere("all to be in flight", ({ pools }) => {
        // Not each instance need have some: one that is slow for a moment is skipped.
        const inFlight = pools[0]?.instances.map((instance) => instance.inFlight ?? 0) ?? [];
        return inFlight.reduce((sum, count) => sum + count, 0) === 4;
      });
      const done = operate();
      await project.statusWhere("an outgoing process to drain", ({ pools, balancers }) =>
        [...(pools[0]?.instances ?? []), ...balancers].some(({ other }) => other?.state === "draining"),
      );
      await waitFor("an event to say what it waits for", async () => (await told()) > before);
      project.write("released", "");
      for (const connection of slow) {
        expect(await connection.until(/held$/)).toMatch(/^HTTP\/1\.1 200 /);
        connection.close();
      }
      const { code, output } = await done;
      expect(`${code} ${output}`).toMatch(/^0 /);
      expect(output.match(waits)).not.toBeNull();
    }
  });

  once("of all pools waits for a restart of the balancers that began meanwhile", async () => {
    const streams =
      "export default { fetch: () => new Response(new ReadableStream({ start: (out) => out.enqueue(new Uint8Array([46])) })) };\n";
    const pools = { events: { app: "./events.js", routes: ["/events"] }, web: { app: "./app.js", routes: ["/"] } };
    const files = { "events.js": streams };
    const project = await startFleet({ runtime, instances: 1, app: HELLO, files, config: { pools } });
    const gated = `import { existsSync } from "node:fs";
      while (!existsSync("gate")) await new Promise((resolve) => setTimeout(resolve, 20));
      ${HELLO}`;
    project.write("app.js", gated);
    project.writeConfig({ pools, balancer: { trustedProxies: ["10.0.0.1"] } });
    const reload = project.reload();
    await project.statusWhere("web to be reloaded", ({ pools }) => pools[1]?.rollout !== null);
    const stream = await RawConnection.open(project.port);
    stream.write("GET /events HTTP/1.1\r\nHost: x\r\n\r\n");
    await stream.until(/\.\r\n/);
    const restart = project.restart("balancer");
    const isLeaving = (other: { state: string } | null | undefined) => other?.state === "draining";
    await project.statusWhere("a balancer to drain", ({ balancers }) =>
      balancers.some(({ other }) => isLeaving(other)),
    );
    project.write("gate", "");
    await project.statusWhere("web to be done", ({ pools }) => pools[1]?.generation === 2 && pools[1].rollout === null);
    stream.close();
    expect(await restart).toMatchObject({ code: 0 });
    expect(await reload).toMatchObject({ code: 0 });
    expect((await project.ready()).balancers[0]?.attempt).toBe(3);
  });

  once("reads the file that the fleet was started from, and changes nothing when that is missing", async () => {
    const project = await Project.make({ runtime, app: app("code-1"), config: { env: { FROM_CONFIG: "config-1" } } });
    // Started by its folder, which also contains an app; these options would run the app without the config.
    const args = ["-l", `127.0.0.1:${project.port}`, "--runtime", runtime];
    const file = join(project.folder, "paceline.config.json");
    const started = await project.startDetached([...args, "--watch", project.folder]);
    expect(started.code, started.output).toBe(0);
    const { pid, pools } = await project.status();
    project.write("paceline.toml", 'app = "app.js"\n');
    renameSync(file, `${file}.away`);
    const reloaded = await project.cli(["reload"]);
    expect({ code: reloaded.code, output: reloaded.output }).toEqual({
      code: 2,
      output: expect.stringContaining(`paceline: ${file}: there is no such file\n`),
    });
    signal(pid, "SIGHUP");
    await waitFor("the signal to be told", async () =>
      (await project.events()).includes(`SIGHUP: ${file}: there is no such file`),
    );
    await project.statusWhere("the watch to tell", ({ watch }) => watch?.failure?.includes("no such file") === true);
    expect((await project.status()).pools[0]?.instances.map(({ pid }) => pid)).toEqual(
      pools[0]?.instances.map(({ pid }) => pid),
    );
    expect((await get(project.port)).body).toBe("code-1  config-1");
    renameSync(`${file}.away`, file);
    expect(await project.reload()).toMatchObject({ code: 0 });

    // The reverse: a fleet without a config stays one, and reports that.
    expect(await project.stop()).toMatchObject({ code: 0 });
    for (const path of [file, join(project.folder, "paceline.toml")]) rmSync(path);
    expect(await project.startDetached([...args, "-i", "1"])).toMatchObject({ code: 0 });
    project.writeConfig({ env: { FROM_CONFIG: "config-2" } });
    const note = `${file} is not used: this fleet was started without a config; stop and start it to use the config`;
    expect(await project.cli(["reload"])).toMatchObject({ code: 0, output: expect.stringContaining(note) });
    expect((await get(project.port)).body).toBe("code-1  ");
    expect(await project.stop()).toMatchObject({ code: 0 });
  });
});
