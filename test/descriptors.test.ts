/** With few descriptors a fleet serves its accepted clients and refuses the others. */
import { describe, expect, onTestFinished, test } from "vitest";
import { HELLO } from "./support/apps.js";
import { PACELINE, Project, RUNTIMES } from "./support/fleet.js";
import { RawConnection } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

const LIMIT = 128;
const CLIENTS = 180;

describe.each(RUNTIMES)("at the limit of descriptors on %s", (runtime) => {
  test("clients that were accepted live on, each other one is refused at once, and no process ends", async () => {
    const project = await Project.make({ runtime, instances: 1, app: HELLO });
    project.startInForeground(["sh", "-c", `ulimit -n ${LIMIT}; exec "$0" start`, PACELINE]);
    await project.ready();
    const request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    const opened: (RawConnection | undefined)[] = [];
    // A refused client may be reset before it sees the connection.
    for (let n = 0; n < CLIENTS; n++) opened.push(await RawConnection.open(project.port).catch(() => undefined));
    const clients = opened.filter((client) => client !== undefined);
    onTestFinished(() => {
      for (const client of clients) client.close();
    });
    const served = async (client: RawConnection) => {
      client.received = "";
      client.write(request);
      await waitFor("a response or an end", () => client.ended !== "no" || /\r\n\r\n.+/.test(client.received));
      return client.received.startsWith("HTTP/1.1 200");
    };
    const first = await Promise.all(clients.map(served));
    const count = first.filter(Boolean).length;
    expect(count).toBeGreaterThan(LIMIT / 4);
    expect(count).toBeLessThan(LIMIT);
    const reported = await project.statusWhere(
      "the connections to be reported",
      ({ balancers }) => balancers[0]?.connections === count,
    );
    expect([...reported.balancers, ...(reported.pools[0]?.instances ?? [])].map(({ restarts }) => restarts)).toEqual(
      Array.from({ length: reported.balancers.length + 1 }, () => 0),
    );
    const again = await Promise.all(clients.filter((_, n) => first[n]).map(served));
    expect(again).toEqual(again.map(() => true));
    await project.eventWhere(
      / warn +balancer\.1 +new connections are reset while more than \d+ are open.*raise "ulimit -n"/,
    );
    await waitFor("the warning", () => project.output.includes('raise "ulimit -n"'));
    expect(project.output.match(/raise "ulimit -n"/g)).toHaveLength(1);
  });

  test.each(["fetch", "node"])(
    "one instance alone with a %s app serves those that it has, and says so",
    async (style) => {
      const app = style === "fetch" ? HELLO : "export default (_, response) => response.end('hello');\n";
      const project = await Project.make({ runtime, app });
      project.startInForeground([
        "sh",
        "-c",
        `ulimit -n 64; exec "$0" serve ./app.js --port ${project.port}`,
        PACELINE,
      ]);
      await waitFor("the server", () => project.output.includes("listening on"));
      const opened = Array.from({ length: 100 }, () => RawConnection.open(project.port).catch(() => undefined));
      const clients = (await Promise.all(opened)).filter((client) => client !== undefined);
      onTestFinished(() => {
        for (const client of clients) client.close();
      });
      for (const client of clients) client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
      await waitFor("the line that says so", () => project.output.includes('raise "ulimit -n"'));
      const served = () => clients.filter(({ received }) => received.startsWith("HTTP/1.1 200"));
      await waitFor("responses", () => served().length >= 30);
      const [one] = served();
      if (one === undefined) throw new Error("nobody was served");
      one.received = "";
      one.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
      await one.until(/\r\n\r\n.+/);
      // Bun.serve cannot refuse clients; all others reset connections above the limit.
      if (runtime === "bun" && style === "fetch") return;
      await waitFor(
        "the others to be reset",
        () => clients.filter(({ ended }) => ended !== "no").length >= clients.length - 40,
      );
    },
  );
});
