/** Stored certificates serve immediately, an outage removes none, a crash repeats no order, and names on demand are bounded. */
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CertificateEntry, Challenges } from "@paceline/wire";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { AutomaticConfig } from "../core/model.js";
import { AcmeError } from "./acme-http.js";
import type { Obtained, OrderRequest, RenewalAdvice } from "./acme-order.js";
import { ChallengeFailed } from "./acme-order.js";
import { alpnCertificate } from "./acme-x509.js";
import { AutomaticCertificates } from "./automatic.js";
import { newKey, pemOf } from "./x509.js";

const CONFIG: AutomaticConfig = {
  ...{ names: ["shop.example"], email: null, directory: "https://ca.example/dir", stagingDirectory: null },
  ...{ caFile: null, externalAccount: null, challenges: ["tls-alpn-01", "http-01"], ask: null },
};
const HOUR = 3_600_000;

let folder: string;
const opened: AutomaticCertificates[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "pl-acme-"));
});

afterEach(() => {
  for (const each of opened.splice(0)) each.close();
  rmSync(folder, { recursive: true });
});

/** A certificate that is valid from an hour before `now` to a day after it. */
function certificateOf(name: string, now: number): Obtained {
  const key = newKey();
  return { certificatePem: alpnCertificate(name, "x", key, now), keyPem: pemOf(key), challenge: "http-01" };
}

class Fleet {
  now = Date.now();
  config: AutomaticConfig | undefined = CONFIG;
  entries: readonly CertificateEntry[] = [];
  readonly challenges: Partial<Challenges>[] = [];
  readonly events: string[] = [];
  readonly orders: OrderRequest[] = [];
  answer: (request: OrderRequest) => Promise<Obtained> | Obtained = ({ name }) => certificateOf(name, this.now);
  advice: RenewalAdvice = { window: undefined, retryAfterMs: undefined };
  readonly automatic: AutomaticCertificates;

  constructor(config: AutomaticConfig = CONFIG) {
    this.config = config;
    this.automatic = new AutomaticCertificates({
      ...{ folder: join(folder, "certificates"), userAgent: "test", now: () => this.now, random: () => 0 },
      config: () => this.config,
      log: {
        event: (level, subject, message, kind) =>
          this.events.push(`${level} ${subject} ${message} ${kind ?? ""}`.trim()),
      },
      sink: {
        put: async (_, entries) => {
          this.entries = entries;
        },
        challenge: async (added) => {
          this.challenges.push(added);
        },
        unchallenge: async ({ names = [] }) => {
          const left = this.challenges.filter(({ alpn01 = [] }) => !alpn01.some(({ name }) => names.includes(name)));
          this.challenges.splice(0, this.challenges.length, ...left);
        },
      },
      loadOrders: async () => ({
        obtain: async (request) => {
          this.orders.push(request);
          return this.answer(request);
        },
        askRenewal: async () => this.advice,
      }),
    });
    opened.push(this.automatic);
    this.automatic.follow();
  }

  /** Checks as the timer would, and waits for what that starts. */
  async look(names = this.config?.names ?? []): Promise<void> {
    this.automatic.follow();
    await this.automatic.whenSettled(names);
  }

  async start(): Promise<this> {
    this.automatic.start();
    await this.automatic.whenSettled(this.config?.names ?? []);
    return this;
  }
}

const unreachable = () => {
  throw new AcmeError("unreachable", "ca.example: the connection was refused");
};

describe("a first start", () => {
  it("orders, stores for this user alone, and delivers the certificate", async () => {
    const fleet = await new Fleet().start();
    expect(fleet.entries).toMatchObject([{ names: ["shop.example"], source: "automatic" }]);
    const files = readdirSync(join(folder, "certificates")).sort();
    expect(files).toEqual([expect.stringMatching(/^account-/), "plan.json", "shop.example.certificate.json"]);
    for (const file of files) expect(statSync(join(folder, "certificates", file)).mode & 0o777).toBe(0o600);
    expect(statSync(join(folder, "certificates")).mode & 0o777).toBe(0o700);
    expect(fleet.events.at(-1)).toMatch(/^info paceline shop.example has a certificate of .* verified by http-01$/);
  });

  it("does nothing before it is allowed to", async () => {
    const fleet = new Fleet();
    await fleet.look();
    expect(fleet.orders).toEqual([]);
  });

  it("makes the challenge known before the CA is told, and removes it", async () => {
    const fleet = new Fleet();
    fleet.answer = async ({ name, respond }) => {
      const takeBack = await respond({ kind: "tls-alpn-01", name, token: "t", keyAuthorization: "t.print" });
      expect(fleet.challenges).toMatchObject([{ alpn01: [{ name }] }]);
      takeBack();
      return certificateOf(name, fleet.now);
    };
    await fleet.start();
    expect(fleet.entries).toHaveLength(1);
    expect(fleet.challenges).toEqual([]);
  });
});

describe("a further start", () => {
  it("serves stored certificates immediately, without an order", async () => {
    await new Fleet().start();
    const next = new Fleet();
    expect(next.entries).toHaveLength(1);
    await next.start();
    expect(next.orders).toEqual([]);
  });

  it("uses the certificate of another CA until it has one of this CA, and never a damaged one", async () => {
    await new Fleet().start();
    const other = new Fleet({ ...CONFIG, directory: "https://other.example/dir" });
    const [former] = other.entries;
    expect(former?.names).toEqual(["shop.example"]);
    await other.start();
    expect(other.orders).toMatchObject([{ directory: "https://other.example/dir", replaces: undefined }]);
    expect(other.entries[0]?.certificatePem).not.toBe(former?.certificatePem);
    other.automatic.close();
    writeFileSync(join(folder, "certificates", "shop.example.certificate.json"), '{"version":1,"name":"shop.example"}');
    const damaged = new Fleet();
    expect(damaged.entries).toEqual([]);
    expect(damaged.events[0]).toContain("is not used");
    await damaged.start();
    expect(damaged.entries).toHaveLength(1);
  });

  it("counts the order during which the former supervisor was killed", async () => {
    const killed = new Fleet();
    killed.answer = () => new Promise(() => {});
    killed.automatic.start();
    await expect.poll(() => killed.orders).toHaveLength(1);
    expect(new Fleet().automatic.names()[0]?.plan.orders).toHaveLength(1);
  });

  it("orders no more often than the former supervisor was allowed to", async () => {
    const first = new Fleet();
    first.answer = unreachable;
    await first.start();
    for (let orders = 2; orders <= 6; orders++) {
      first.now += HOUR / 10;
      await first.look();
    }
    const next = new Fleet();
    next.now = first.now;
    expect(next.automatic.names()[0]?.plan.orders).toHaveLength(first.orders.length);
    await next.start();
    expect(next.orders).toEqual([]);
  });
});

describe("a renewal", () => {
  it("begins after two thirds, replaces the certificate, and names the former certificate", async () => {
    const fleet = await new Fleet().start();
    const [former] = fleet.entries;
    fleet.now += 17 * HOUR;
    await fleet.look();
    expect(fleet.orders).toHaveLength(2);
    expect(fleet.orders[1]?.replaces).toBe(former?.certificatePem);
    expect(fleet.entries[0]?.certificatePem).not.toBe(former?.certificatePem);
  });

  it("that fails leaves the certificate in use", async () => {
    const fleet = await new Fleet().start();
    const [former] = fleet.entries;
    fleet.answer = unreachable;
    fleet.now += 17 * HOUR;
    await fleet.look();
    expect(fleet.entries[0]?.certificatePem).toBe(former?.certificatePem);
    expect(fleet.events.at(-1)).toMatch(
      /^warn paceline no certificate for shop.example: ca.example: the connection was refused; the certificate in use stays; next attempt in \d+ s certificate$/,
    );
    fleet.answer = ({ name }) => certificateOf(name, fleet.now);
    fleet.now += HOUR;
    await fleet.look();
    expect(fleet.entries[0]?.certificatePem).not.toBe(former?.certificatePem);
  });

  it("follows the CA's advice, and reports a revocation once", async () => {
    const fleet = await new Fleet().start();
    await fleet.look();
    fleet.now += 7 * HOUR;
    fleet.advice = {
      window: { start: fleet.now - HOUR, end: fleet.now - 1, explanation: "https://ca.example/why" },
      retryAfterMs: undefined,
    };
    fleet.answer = unreachable;
    await fleet.look();
    const recalls = fleet.events.filter((event) => event.includes("as after a revocation"));
    expect(recalls).toEqual([expect.stringMatching(/^error .*https:\/\/ca.example\/why certificate$/)]);
    expect(fleet.orders).toHaveLength(2);
  });

  it("begins when an operator requests it", async () => {
    const fleet = await new Fleet().start();
    expect(fleet.automatic.renew(["other.example"])).toEqual(["other.example"]);
    expect(fleet.automatic.renew([])).toEqual([]);
    await fleet.automatic.whenSettled(["shop.example"]);
    expect(fleet.orders).toHaveLength(2);
  });

  it("that an operator requested is started again by the next supervisor, as in an upgrade", async () => {
    const former = await new Fleet().start();
    former.answer = () => new Promise(() => {});
    former.automatic.renew([]);
    await expect.poll(() => former.orders).toHaveLength(2);
    former.automatic.close();
    expect((await new Fleet().start()).orders).toHaveLength(1);
    expect((await new Fleet().start()).orders).toHaveLength(0);
  });
});

describe("a failure", () => {
  it("of a challenge leads to the other kind", async () => {
    const fleet = new Fleet();
    fleet.answer = ({ challenges, name }) => {
      if (challenges[0] === "tls-alpn-01") throw new ChallengeFailed("tls-alpn-01", "no way");
      return certificateOf(name, fleet.now);
    };
    fleet.automatic.start();
    await expect.poll(() => fleet.orders).toHaveLength(1);
    fleet.now += 3_000;
    await fleet.look();
    expect(fleet.orders.map(({ challenges }) => challenges[0])).toEqual(["tls-alpn-01", "http-01"]);
    expect(fleet.entries).toHaveLength(1);
  });

  it("of an account that the CA has forgotten leads to a new one immediately", async () => {
    const fleet = new Fleet();
    fleet.answer = ({ account, onAccount }) => {
      if (account.url !== undefined) throw new AcmeError("account", "no such account", { type: "accountDoesNotExist" });
      onAccount({ ...account, url: "https://ca.example/1" });
      return certificateOf("shop.example", fleet.now);
    };
    await fleet.start();
    const [former] = fleet.entries;
    fleet.automatic.renew([]);
    await fleet.automatic.whenSettled(["shop.example"]);
    expect(fleet.orders).toHaveLength(3);
    expect(fleet.orders[2]?.account.key.equals(fleet.orders[1]?.account.key as never)).toBe(false);
    expect(fleet.entries[0]?.certificatePem).not.toBe(former?.certificatePem);
  });

  it("is tried again immediately with another configuration", async () => {
    const fleet = new Fleet();
    fleet.answer = unreachable;
    await fleet.start();
    await fleet.look();
    expect(fleet.orders).toHaveLength(1);
    fleet.config = { ...CONFIG, email: "admin@shop.example" };
    await fleet.look();
    expect(fleet.orders).toHaveLength(2);
  });
});

it("a name that is removed and added again gets its certificate without an order", async () => {
  const fleet = await new Fleet().start();
  fleet.config = { ...CONFIG, names: [] };
  await fleet.look();
  expect(fleet.entries).toEqual([]);
  fleet.config = CONFIG;
  await fleet.look();
  expect(fleet.entries).toHaveLength(1);
  expect(fleet.orders).toHaveLength(1);
});

it("keeps names on demand only while a URL decides about them, and over a start", async () => {
  const fleet = await new Fleet({ ...CONFIG, names: [] }).start();
  expect(await fleet.automatic.wantOnDemand("a.example")).toBe(false);
  fleet.config = { ...CONFIG, names: [], ask: "http://127.0.0.1/" };
  expect(await fleet.automatic.wantOnDemand("a.example")).toBe(true);
  expect(fleet.entries).toMatchObject([{ names: ["a.example"] }]);
  expect(new Fleet({ ...CONFIG, names: [], ask: "http://127.0.0.1/" }).entries).toHaveLength(1);
  expect(new Fleet({ ...CONFIG, names: [] }).entries).toEqual([]);
});

it("orders for few names at once", async () => {
  const names = Array.from({ length: 20 }, (_, at) => `${at}.example`);
  const fleet = new Fleet({ ...CONFIG, names });
  let running = 0;
  let most = 0;
  fleet.answer = async ({ name }) => {
    most = Math.max(most, ++running);
    await Promise.resolve();
    running--;
    return certificateOf(name, fleet.now);
  };
  await fleet.start();
  await expect.poll(() => fleet.entries).toHaveLength(20);
  expect(most).toBeLessThanOrEqual(4);
});
