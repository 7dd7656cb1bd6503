import { X509Certificate } from "node:crypto";
import { mkdirSync, mkdtempSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Certificates } from "@paceline/wire";
import { afterAll, expect, test } from "vitest";
import type { FleetConfig, TlsConfig } from "../core/model.js";
import { authorityIn, localNames } from "./local-issuer.js";
import { CertificateStore } from "./store.js";
import { WatchedFiles } from "./watched-files.js";
import { issueCertificate } from "./x509.js";

const folder = mkdtempSync(join(tmpdir(), "pl-certificates-"));
afterAll(() => rmSync(folder, { recursive: true }));

const DAY_MS = 86_400_000;

function issue(name: string, days = 90, from = Date.now()) {
  return issueCertificate({ name, names: [name], notBefore: from - DAY_MS, notAfter: from + days * DAY_MS });
}

test("an issued certificate is valid for its names, by its authority", () => {
  const now = Date.now();
  const { root } = authorityIn(join(folder, "ca"), "shop", now);
  const issued = issueCertificate({
    ...{ name: "shop.test", names: ["shop.test", "127.0.0.1", "fe80::1", "::1"], issuer: root },
    ...{ notBefore: now, notAfter: Date.UTC(2051, 0, 1) },
  });
  const [leaf, authority] = [new X509Certificate(issued.certificatePem), new X509Certificate(root.certificatePem)];
  expect(leaf.subjectAltName).toBe(
    "DNS:shop.test, IP Address:127.0.0.1, IP Address:FE80:0:0:0:0:0:0:1, IP Address:0:0:0:0:0:0:0:1",
  );
  expect(leaf.checkIssued(authority)).toBe(true);
  expect(leaf.verify(authority.publicKey)).toBe(true);
  expect([leaf.ca, authority.ca]).toEqual([false, true]);
  expect(Date.parse(leaf.validTo)).toBe(Date.UTC(2051, 0, 1));
  expect(leaf.checkHost("shop.test")).toBe("shop.test");
  expect(authorityIn(join(folder, "ca"), "shop", now)).toMatchObject({ root, isNew: false });
  expect(statSync(join(folder, "ca", "root-key.pem")).mode & 0o777).toBe(0o600);
  expect(authorityIn(join(folder, "ca"), "shop", now + 3640 * DAY_MS).isNew).toBe(true);
});

test("a damaged authority is not replaced, and the status says so", () => {
  const ca = join(folder, "state");
  const { root } = authorityIn(ca, "shop", Date.now());
  for (const [file, text] of [
    ["root-key.pem", issue("x").keyPem],
    ["root.pem", ""],
  ] as const) {
    writeFileSync(join(ca, "root.pem"), root.certificatePem);
    writeFileSync(join(ca, "root-key.pem"), root.keyPem);
    writeFileSync(join(ca, file), text);
    expect(() => authorityIn(ca, "shop", Date.now())).toThrow(join(ca, file));
  }
  const { made, lines } = store({ issuer: "internal" });
  expect(made.status).toMatchObject([{ source: "internal", problem: expect.stringContaining("put back both files") }]);
  expect(lines[0]).toMatch(/^error the internal authority cannot be used/);
  made.close();
  rmSync(ca, { recursive: true });
});

test("the names of generated certificates", () => {
  const at = (host: string, names: string[] = []) => ({ kind: "tcp" as const, host, port: 443, tls: { names } });
  expect(localNames([at("127.0.0.1"), at("10.0.0.7")], ["x.test"])).toEqual([
    "x.test",
    "localhost",
    "127.0.0.1",
    "::1",
    "10.0.0.7",
  ]);
  expect(localNames([at("0.0.0.0")], []).length).toBeGreaterThan(3);
});

/** A folder as certbot creates it: links to the newest of the numbered files. */
function certbot(name: string) {
  const [live, archive] = [join(folder, name, "live"), join(folder, name, "archive")];
  for (const each of [live, archive]) mkdirSync(each, { recursive: true });
  let version = 0;
  const link = (file: string) => {
    symlinkSync(join(archive, `${file}${version}.pem`), join(live, `${file}.new`));
    renameSync(join(live, `${file}.new`), join(live, `${file}.pem`));
  };
  return {
    files: { certificate: join(live, "fullchain.pem"), key: join(live, "privkey.pem") },
    renew({ certificatePem, keyPem }: ReturnType<typeof issue>, links = ["privkey", "fullchain"]) {
      version++;
      writeFileSync(join(archive, `privkey${version}.pem`), keyPem, { mode: 0o600 });
      writeFileSync(join(archive, `fullchain${version}.pem`), certificatePem);
      for (const each of links) link(each);
    },
    link,
  };
}

function watching(now = { at: Date.now() }) {
  const lines: string[] = [];
  const files = new WatchedFiles({
    log: (level, message) => lines.push(`${level} ${message}`),
    onChange: () => {},
    now: () => now.at,
  });
  return { files, lines, now };
}

test("certbot's renewal is followed when both files are new; until then, and if one is bad, the certificate in use stays", () => {
  const { files, lines, now } = watching();
  const layout = certbot("renewal");
  const [first, second] = [issue("a.test"), issue("a.test", 80)];
  layout.renew(first);
  files.follow({ certificates: [layout.files], clientCa: null });
  expect(files.entries).toMatchObject([{ names: ["a.test"], certificatePem: first.certificatePem }]);
  expect(files.look()).toBe(false);
  layout.renew(second, ["privkey"]);
  expect(files.look()).toBe(false);
  expect([files.entries[0]?.keyPem, lines]).toEqual([first.keyPem, []]);
  now.at += 11_000;
  expect(files.look()).toBe(false);
  expect(lines).toEqual([
    expect.stringMatching(/^error .*privkey.pem is not the key of .*; the certificate in use stays$/),
  ]);
  expect(files.problems).toMatchObject([{ names: ["a.test"] }]);
  layout.link("fullchain");
  expect(files.look()).toBe(true);
  expect(files.entries[0]).toMatchObject({ certificatePem: second.certificatePem, keyPem: second.keyPem });
  expect(lines.at(-1)).toMatch(/^info the certificate for a.test was replaced; it is valid until \d{4}-\d\d-\d\d$/);
  expect(files.problems).toEqual([]);
  files.close();
});

test("another error of the same files is reported once, too", () => {
  const { files, lines, now } = watching();
  const layout = certbot("errors");
  layout.renew(issue("a.test"));
  files.follow({ certificates: [layout.files], clientCa: null });
  for (const text of ["", "nothing"]) {
    writeFileSync(layout.files.key, text);
    for (let looks = 0; looks < 3; looks++) {
      files.look();
      now.at += 11_000;
    }
  }
  expect(lines).toEqual([
    expect.stringMatching(/^error .*privkey.pem is empty; /),
    expect.stringMatching(/^error .*privkey.pem has no private key in PEM/),
  ]);
  files.close();
});

test("a replacement that has expired is not used", () => {
  const { files } = watching();
  const layout = certbot("expired");
  const first = issue("a.test");
  layout.renew(first);
  files.follow({ certificates: [layout.files], clientCa: null });
  layout.renew(issue("a.test", -2));
  expect(files.look()).toBe(false);
  expect(files.entries[0]?.certificatePem).toBe(first.certificatePem);
  files.close();
});

function store(tls: Partial<TlsConfig>, now = { at: Date.now() }) {
  const lines: string[] = [];
  const sets: (readonly Certificates[])[] = [];
  const made = new CertificateStore({
    ...{ fleet: "shop", folder: join(folder, "state"), now: () => now.at },
    certify: async (messages) => {
      sets.push(messages);
      return [];
    },
    log: (level, message) => lines.push(`${level} ${message}`),
  });
  const config: TlsConfig = {
    ...{
      certificates: [],
      issuer: null,
      names: [],
      minVersion: "1.2",
      clientCa: null,
      isClientOptional: false,
      hsts: null,
    },
    ...tls,
  };
  const listen: FleetConfig["listen"] = [{ kind: "tcp", host: "127.0.0.1", port: 8443, tls: { names: [] } }];
  made.follow({ tls: config, listen });
  return { made, lines, sets, now };
}

test("names without a file get a certificate of the authority, which is renewed in time", () => {
  const layout = certbot("mixed");
  layout.renew(issue("localhost"));
  const { made, sets } = store({ certificates: [layout.files], issuer: "internal", names: ["x.test"] });
  expect(made.all.map(({ names, source }) => [source, ...names])).toEqual([
    ["file", "localhost"],
    ["internal", "x.test", "127.0.0.1", "::1"],
  ]);
  expect(sets.at(-1)).toMatchObject([{ type: "certificates", minVersion: "1.2", entries: [{}, {}] }]);
  expect(made.find("x.test")?.source).toBe("internal");
  expect(made.find("other.test")).toBeUndefined();
  made.close();
});

test("a warning 14 days before a file's certificate ends, another one at its end, and each once", () => {
  const layout = certbot("ending");
  layout.renew(issue("a.test", 20));
  const { made, lines, now } = store({ certificates: [layout.files] });
  const follow = () => (made as unknown as { lookAtEnds(): void }).lookAtEnds();
  follow();
  expect(lines).toEqual([]);
  now.at += 7 * DAY_MS;
  follow();
  follow();
  expect(lines).toEqual([
    expect.stringMatching(/^warn the certificate for a.test expires on .*, in 12 days, and was not renewed$/),
  ]);
  now.at += 20 * DAY_MS;
  follow();
  expect(lines.slice(1)).toEqual([
    expect.stringMatching(/^error the certificate for a.test has expired on .*: clients refuse it$/),
  ]);
  expect(made.status).toMatchObject([{ names: ["a.test"], problem: expect.stringContaining("expired") }]);
  made.close();
});

test("challenges go to the balancers and end; a large set is divided", async () => {
  const { made, sets } = store({ issuer: "self-signed" });
  await made.challenge({ http01: [{ token: "t", keyAuthorization: "t.k" }] });
  expect(sets.at(-1)?.[0]?.challenges).toEqual({ http01: [{ token: "t", keyAuthorization: "t.k" }], alpn01: [] });
  await made.unchallenge({ tokens: ["t"] });
  expect(sets.at(-1)?.[0]?.challenges).toEqual({ http01: [], alpn01: [] });
  const entry = { certificatePem: "x".repeat(300_000), keyPem: "k", notAfter: 1, source: "automatic" as const };
  await made.put(
    "automatic",
    [1, 2, 3].map((n) => ({ ...entry, names: [`${n}.test`] })),
  );
  const last = sets.at(-1) ?? [];
  expect(last.map(({ more, entries }) => [more ?? false, entries.length])).toEqual([
    [true, 1],
    [true, 1],
    [false, 2],
  ]);
  expect(new Set(last.map(({ version }) => version)).size).toBe(1);
  made.close();
});
