/** The facts and comments of exports for configs of all kinds; test/exports.test.ts has the engines' own checks. */
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { resolveFleet } from "../config/resolve.js";
import { validate } from "../config/validate.js";
import type { FleetConfig } from "../core/model.js";
import { compose } from "./compose.js";
import { containerStart, deadlines, dnsName, type ExportInput, memoryOf, mountedFiles } from "./facts.js";
import { haproxy } from "./haproxy.js";
import { imageParts, kamal } from "./kamal.js";
import { kubernetes } from "./kubernetes.js";
import { notesFor } from "./notes.js";

function configOf(raw: object): FleetConfig {
  const { input, findings } = validate({ command: ["true"], name: "shop", ...raw });
  const runtimes = { bun: "/bun", node: "/node", preferred: "bun" as const };
  const config = resolveFleet(input, {
    baseDir: "/",
    listenDir: "/",
    defaultName: "shop",
    runtimes,
    findings,
    isOnlyChecked: true,
  });
  expect(findings).toEqual([]);
  return config;
}

function inputOf(raw: object, start: string[] = ["/paceline.config.json"]): ExportInput {
  return { config: configOf(raw), start, folder: "/", workdir: "/app", image: undefined, boxes: [], bind: ":80" };
}

describe("facts", () => {
  it("has the deadlines of the slowest pool, and the time before a drain", () => {
    expect(deadlines(configOf({}))).toEqual({ startMs: 90_000, stopMs: 41_000 });
    const slow = { drainTimeoutMs: 60_000, readyTimeoutMs: 40_000, balancer: { preDrainMs: 3000 } };
    expect(deadlines(configOf(slow))).toEqual({ startMs: 120_000, stopMs: 74_000 });
  });

  it.each([
    ["shop", "shop"],
    ["my-shop-2", "my-shop-2"],
    ["Shop", /^shop-[0-9a-f]{6}$/],
    ["2shops", /^shops-[0-9a-f]{6}$/],
    ["shop.example", /^shop-example-[0-9a-f]{6}$/],
    ["店", /^fleet-[0-9a-f]{6}$/],
    [`${"a".repeat(39)}-b`, /^a{39}-[0-9a-f]{6}$/],
  ])("%s has the DNS name %s", (name, expected) => {
    if (typeof expected === "string") expect(dnsName(name)).toBe(expected);
    else expect(dnsName(name)).toMatch(expected);
    expect(dnsName(name)).toMatch(/^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$/);
  });

  it("counts the memory of all instances, one beside them, the balancers and the supervisor", () => {
    expect(memoryOf(configOf({ instances: 3, maxMemoryMb: 200 }))).toEqual({
      megabytes: 100 + 60 + 4 * 200,
      unlimited: [],
    });
    const scaled = {
      instances: { min: 1, max: 8, target: { queueMs: 50 } },
      maxMemoryMb: 100,
      balancer: { processes: 2 },
    };
    expect(memoryOf(configOf(scaled)).megabytes).toBe(100 + 120 + 900);
    expect(memoryOf(configOf({})).unlimited).toEqual(["web"]);
  });

  it.each<[config: object, start: string[], expected: string[]]>([
    [{ listen: ":9000" }, ["/paceline.config.json"], ["start", "./paceline.config.json"]],
    [{ listen: "9000" }, ["/paceline.config.json"], ["start", "--listen", ":9000", "./paceline.config.json"]],
    [{ listen: "10.0.0.5:80" }, ["/paceline.config.json"], ["start", "--listen", ":80", "./paceline.config.json"]],
    [{ listen: "unix:/run/a" }, ["/paceline.config.json"], ["start", "--listen", ":8080", "./paceline.config.json"]],
    [{ listen: "9000" }, ["--listen", "9000", "."], ["start", "--listen", ":9000", "."]],
    [{ listen: ":9000" }, ["--listen", ":9000", "."], ["start", "--listen", ":9000", "."]],
    [{ listen: "9000" }, [".", "--", "--listen", "x"], ["start", "--listen", ":9000", ".", "--", "--listen", "x"]],
  ])("%j is started in a container from %j", (config, start, expected) => {
    expect(containerStart(inputOf(config, start))).toEqual(expected);
  });

  it("mounts files that an image should not have, and never contains their values", () => {
    const env = { A: { file: "etc/hostname" }, B: { credential: "token" }, C: "plain" };
    const files = mountedFiles(inputOf({ env }));
    expect(files).toEqual({
      secrets: [{ key: "hostname", path: "/app/etc/hostname" }],
      credentials: [{ key: "token", name: "token" }],
      envFiles: [],
    });
  });

  it("has a separate key for each file, and prints values that no engine expands", () => {
    const env = {
      ...{ T1: { file: "etc/hostname" }, T2: { file: "proc/sys/kernel/hostname" } },
      ...{ C1: { credential: "my cred" }, C2: { credential: "my_cred" } },
    };
    const input = { ...inputOf({ env }, ["./a $b <%= c %>.js"]), workdir: "/a$b" };
    const { secrets, credentials } = mountedFiles(input);
    expect(secrets.map(({ key }) => key)).toEqual(["hostname", "hostname-2"]);
    expect(credentials).toEqual([
      { key: "my_cred", name: "my cred" },
      { key: "my_cred-2", name: "my_cred" },
    ]);
    const manifests = kubernetes(input);
    expect(manifests).toContain("--from-file=hostname=PATH --from-file=hostname-2=PATH");
    expect(manifests).toContain("--from-file=my_cred=PATH --from-file=my_cred-2=PATH");
    expect(manifests).toContain("# The key my_cred is for my cred.");
    expect(manifests).toContain("subPath: hostname-2");
    const { services, secrets: files } = parse(compose(input));
    expect(Object.keys(files)).toEqual(["hostname", "hostname-2", "my_cred", "my_cred-2"]);
    expect(services.shop).toMatchObject({
      working_dir: "/a$$b",
      command: expect.arrayContaining(["./a $$b <%= c %>.js"]),
      secrets: expect.arrayContaining([
        { source: "hostname", target: "/a$$b/etc/hostname" },
        { source: "my_cred", target: "/run/credentials/paceline/my cred" },
      ]),
    });
    const deploy = parse(kamal(input));
    expect(deploy.servers.web.cmd).toMatch(/ '\.\/a \$b <%%= c %>\.js'$/);
    expect(deploy.volumes).toContain("'/etc/shop/hostname-2:/a$b/proc/sys/kernel/hostname:ro'");
  });
});

describe("kamal", () => {
  it.each([
    ["registry.example/shop", "registry.example", "shop", undefined],
    ["registry.example:5000/team/shop:7", "registry.example:5000", "team/shop", ":7"],
    ["localhost/shop", "localhost", "shop", undefined],
    ["ann/shop:7@sha256:0ff", undefined, "ann/shop", ":7@sha256:0ff"],
    ["shop", undefined, "shop", undefined],
  ])("%s is of the server %s, with the name %s and the tag %s", (image, server, name, tag) => {
    expect(imageParts(image)).toEqual({ server, name, tag });
  });

  it("writes the server of an image where Kamal reads it, and says that its tag is left out", () => {
    const text = kamal({ ...inputOf({ listen: ":80" }), image: "registry.example/shop:7" });
    expect(parse(text)).toMatchObject({ image: "shop", registry: { server: "registry.example", username: "shop" } });
    expect(text).toContain("# The tag of --image, :7, is omitted: Kamal tags images itself.\n");
    const { image, registry } = parse(kamal({ ...inputOf({}), image: "ann/shop" }));
    expect([image, registry.server, registry.username]).toEqual(["ann/shop", undefined, "ann"]);
  });

  it("has IPv6 addresses as ssh reads them, and no proxy before a fleet without requests", () => {
    const boxes = ["10.0.0.5", "fd00::1"].map((host) => ({ name: "box", host, port: undefined }));
    const input = { ...inputOf({}), boxes };
    expect(parse(kamal(input)).servers.web.hosts).toEqual(["10.0.0.5", "[fd00::1]:22"]);
    const workers = parse(kamal({ ...input, config: { ...input.config, listen: [] } }));
    expect([workers.proxy, workers.servers.web.proxy]).toEqual([undefined, false]);
  });
});

describe("notes", () => {
  const notes = (raw: object, place: "front" | "container") => notesFor(place, configOf(raw)).join("\n");
  const READY = {
    listen: ":80",
    maxMemoryMb: 100,
    balancer: { probes: true, preDrainMs: 3000, trustedProxies: ["10.0.0.1"] },
  };

  it("says nothing about a complete config", () => {
    expect([notes(READY, "front"), notes(READY, "container")]).toEqual(["", ""]);
  });

  it.each<[change: object, front: RegExp | "", container: RegExp | ""]>([
    [{ listen: "8080" }, /127\.0\.0\.1:8080 only, which no other machine can reach/, /--listen replaces it/],
    [{ listen: "10.0.0.5:80" }, "", /--listen replaces it/],
    [{ listen: "unix:/run/a" }, /unix sockets only/, /--listen replaces it/],
    [{ listen: [":80", "unix:/run/a"] }, /Only one of the 2 addresses/, /Only one of the 2 addresses/],
    [{ balancer: { ...READY.balancer, probes: false } }, /no readiness probe/, /no readiness probe/],
    [{ balancer: { ...READY.balancer, probes: { live: "/up" } } }, /no readiness probe/, /no readiness probe/],
    [{ balancer: { ...READY.balancer, preDrainMs: 1000 } }, /preDrainMs` is 1000: with 3000 or more/, ""],
    [{ balancer: { ...READY.balancer, trustedProxies: [] } }, /trustedProxies` is empty/, /trustedProxies` is empty/],
    [{ sticky: "cookie" }, /web is sticky/, /web is sticky/],
    [{ maxMemoryMb: 0 }, "", /`web` has no `maxMemoryMb`/],
    [{ user: "root" }, "", /`user` \(root\)/],
    [{ agentCheck: ":9999" }, "", /`agentCheck` is for HAProxy/],
    [{ balancer: { ...READY.balancer, spoolDir: "/big" } }, "", /spoolDir` is \/big/],
  ])("%j", (change, front, container) => {
    for (const [place, expected] of [
      ["front", front],
      ["container", container],
    ] as const) {
      const text = notes({ ...READY, ...change }, place);
      if (expected === "") expect(text).toBe("");
      else expect(text).toMatch(expected);
      expect(text.split("\n").length).toBe(1);
    }
  });

  it("names workers, which run on every machine", () => {
    const pools = {
      web: { static: "." },
      mail: { worker: ["node", "mail.js"] },
      night: { worker: ["node", "n.js"], cron: "0 3 * * *" },
    };
    const { static: _, ...raw } = { static: undefined, ...READY, pools };
    const { input, findings } = validate({ name: "shop", ...raw });
    const runtimes = { bun: "/bun", node: "/node", preferred: "bun" as const };
    const config = resolveFleet(input, {
      baseDir: "/",
      listenDir: "/",
      defaultName: "shop",
      runtimes,
      findings,
      isOnlyChecked: true,
    });
    expect(findings).toEqual([]);
    for (const place of ["front", "container"] as const) {
      expect(notesFor(place, config).join("\n")).toMatch(
        /`night` runs at its times once on EACH machine[\s\S]*The worker `mail` runs on every machine/,
      );
    }
  });
});

describe("haproxy", () => {
  it.each([
    ["/-/ready", "/-/ready"],
    ["/a'b", `'/a'\\''b'`],
    ['/a"b', `'/a"b'`],
    ["/a$b\\c", `'/a$b\\c'`],
  ])("has the path %s as one word", (ready, word) => {
    const text = haproxy({
      ...inputOf({ listen: ":80", balancer: { probes: { ready } } }),
      boxes: [{ name: "a", host: "::1", port: 1 }],
    });
    expect(text).toContain(` uri ${word} ver HTTP/1.1 `);
  });
});
