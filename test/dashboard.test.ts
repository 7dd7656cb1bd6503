/** The dashboard as a person sees it, in a real pseudo-terminal with a real fleet. */
import { describe, expect, test } from "vitest";
import { PACELINE, RUNTIMES, sharedFleet } from "./support/fleet.js";
import { kill } from "./support/processes.js";
import { Screen, type ScreenOptions } from "./support/terminal.js";
import { testOnce } from "./support/test-once.js";
import { waitFor } from "./support/wait.js";

/** Writes wide and joined characters, which must not shift the rest of the line. */
const APP = `
  console.log("日本語 and 👩‍👩‍👧‍👦 and 🎉 " + process.env.PACELINE_INSTANCE);
  export default { fetch: () => new Response("Hello World!") };
`;
const NAME = "店 🎉 shop";

describe.each(RUNTIMES)("on %s", (runtime) => {
  const once = testOnce(runtime);

  const fleet = sharedFleet({ runtime, app: APP, config: { name: NAME } });

  function top(size: Partial<ScreenOptions> = {}, ...args: string[]): Screen {
    const env = { ...process.env, PACELINE_RUNTIME: runtime };
    return Screen.open(PACELINE, ["top", ...args], { cwd: fleet().folder, env, ...size });
  }

  test("top shows the rows, follows a scale and a resize, and gives the terminal back", async () => {
    const project = fleet();
    const screen = top();
    const lines = await screen.sees(
      / 店 □ shop {2}2\/2 ready {2}/,
      /^▸web\.1 +ready +\d/m,
      /^ web\.2 +ready/m,
      /^ balancer\.1 +ready/m,
    );
    // The header is as wide as the screen, although it has characters of two cells.
    expect(screen.columnOf("http://", 0)).toBeGreaterThan(0);
    expect(lines.join("\n")).toMatch(/^ NAME +STATE +REQ\/S .* UP$/m);

    // Pasted text triggers nothing.
    screen.press("\x1b[200~+y\x1b[201~");
    await screen.sees(/pasted text does nothing here/);

    screen.press("+");
    await screen.sees(/Scale web from 2 to 3 instances\? {2}y yes/);
    await screen.answer("y");
    await screen.sees(/^ web\.3 +ready/m, /^ web +3\/3 /m, /✓ web: 3 instances/);
    expect((await project.status()).pools[0]?.wanted).toBe(3);
    // An answer that arrives together with its question does not count.
    screen.press("-y");
    await screen.sees(/Scale web from 3 to 2 instances\? {2}y yes/);
    await screen.answer("y");
    await screen.sees(/^ web +2\/2 /m);
    await waitFor("web.3 to be gone", () => !screen.lines().some((line) => line.startsWith(" web.3 ")));

    screen.resize(200, 50);
    // The last of fifty lines shows the keys.
    await screen.sees(/ paceline \d/, / 2 MINUTES .* RST /m, /^(?:[^\n]*\n){49} \? help [^\n]*: command$/);
    await screen.sees(/╭─ web\.1 ─+ Enter for more ─╮/);
    screen.resize(20, 8);
    await screen.sees(/^ NAME +STATE$/m, /^▸web\.1 +ready$/m);
    screen.resize(80, 24);
    await screen.sees(/ NAME +STATE +REQ\/S /);

    screen.press("q");
    expect(await screen.exit()).toBe(0);
    expect(screen.isRestored()).toBe(true);
    expect((await project.status()).pools[0]?.ready).toBe(2);
  });

  once("requests, a selected instance's log, and the log's wide characters stay in their places", async () => {
    const screen = top({ columns: 200, rows: 50 });
    await screen.sees(/^▸web\.1 +ready/m);
    const load = fleet().load({ mode: "keep-alive", clients: 2 });
    await screen.sees(/^▸web\.1 +ready +[\d,]*[1-9][\d,]* +.*█/m);
    await load.stop();
    screen.press("l");
    const lines = await screen.sees(/ › log of web\.1 .* follows/, / 日本語 and □ and □ web\.1$/m);
    const y = lines.findIndex((line) => line.includes("日本語"));
    expect(screen.columnOf("and", y)).toBe(screen.columnOf("日", y) + 7);
    screen.press("\x1b");
    await screen.sees(/^▸web\.1 +ready/m);
    screen.press("jl");
    await screen.sees(/ › log of web\.2 /, / □ web\.2$/m);
    screen.press("/web.2\r\x1b\x1b");
    await screen.sees(/^▸web\.2 +ready/m);
    screen.press("\x1b[B\r"); // The arrow key, down to the balancer.
    await screen.sees(/ › balancer › balancer\.1 {2}ready /, /─ req\/s ─/);
  });

  once("the terminal is restored after every way to end, with the mouse on", async () => {
    const ways: [status: number, end: (screen: Screen) => void][] = [
      [0, (screen) => screen.press("q")],
      [0, (screen) => screen.press("\x03")],
      [143, (screen) => screen.kill("SIGTERM")],
      [129, (screen) => screen.kill("SIGHUP")],
    ];
    await Promise.all(
      ways.map(async ([status, end]) => {
        const screen = top();
        await screen.sees(/^▸web\.1 +ready/m);
        screen.press("m");
        await screen.sees(/the mouse selects/);
        end(screen);
        expect(await screen.exit()).toBe(status);
        expect(screen.isRestored()).toBe(true);
      }),
    );
  });

  once("without a terminal, top says what to do, and prints text or JSON", async () => {
    const project = fleet();
    const refused = await project.cli(["top"]);
    expect(refused).toMatchObject({ code: 2, output: expect.stringMatching(/needs a terminal.*top --plain/) });
    const plain = await project.cli(["top", "--plain", "--once"]);
    expect(plain.code).toBe(0);
    expect(plain.output).toMatch(/^[\n\x20-\x7e]*$/);
    expect(plain.output).toMatch(/^ \?\? \? shop .*\n req\/s .*\n NAME .*\n web +2\/2 .*\n web\.1 +ready/);
    const json = await project.cli(["top", "--json", "--once"]);
    expect(JSON.parse(json.output)).toMatchObject({ name: NAME, pools: [{ name: "web", ready: 2 }] });
  });

  once("the status tells the proportional memory while somebody asks", async () => {
    const status = await fleet().statusWhere(
      "every process to have an RSS and a PSS",
      ({ pssBytes, supervisor, balancers, pools }) => {
        const all = [...balancers, ...pools.flatMap((pool) => pool.instances)];
        return (
          pssBytes !== null &&
          supervisor.pssBytes !== null &&
          all.every((each) => each.pssBytes !== null && each.rssBytes !== null)
        );
      },
    );
    const parts = [status.supervisor, ...status.balancers, ...status.pools.flatMap((pool) => pool.instances)];
    expect(status.pssBytes).toBe(parts.reduce((sum, { pssBytes }) => sum + (pssBytes ?? 0), 0));
    expect(status.pssBytes).toBeLessThan(status.rssBytes);
  });

  once("says that the supervisor is gone, and is there again when it is back", async () => {
    const project = fleet();
    const screen = top();
    const { pid } = await screen.sees(/^▸web\.1 +ready/m).then(() => project.status());
    await kill(pid);
    await screen.sees(/店 □ shop · connection lost at \d\d:\d\d:\d\d, reconnecting/, /^▸web\.1 +ready/m);
    await project.start();
    await screen.sees(/ 店 □ shop {2}2\/2 ready {2}up \d/, /✓ connected again/);
    screen.kill("SIGTERM");
    expect(await screen.exit()).toBe(143);
    expect(screen.isRestored()).toBe(true);
  });

  // It ends the fleet of the others.
  once("top --plain goes on while there is a fleet, and ends with it", async () => {
    const screen = top({ columns: 100 }, "--plain");
    await screen.sees(/^ web\.1 +ready/m);
    await waitFor("a second reading", () => screen.output.split(" NAME ").length > 2);
    expect((await fleet().stop()).code).toBe(0);
    expect(await screen.exit()).toBe(0);
    expect(screen.output).toMatch(/\d\d:\d\d:\d\d the fleet has stopped\s*$/);
    expect(screen.output).not.toContain("connection lost");
    expect(screen.output).not.toContain("\x1b[");
  });
});
