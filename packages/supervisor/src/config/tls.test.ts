/** The key `tls` and https addresses: what they mean, and the errors that users make. */
import { createPrivateKey, generateKeyPairSync, X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { certificateOf, issueCertificate } from "../certificates/x509.js";
import { certificateWarnings } from "./certificate-files.js";
import { formatListenAddress } from "./listen-address.js";
import { formatKeyPath } from "./problems.js";
import { resolveFleet } from "./resolve.js";
import { type Finding, validate } from "./validate.js";

const folder = mkdtempSync(join(tmpdir(), "paceline-tls-"));
afterAll(() => rmSync(folder, { recursive: true }));
writeFileSync(join(folder, "app.js"), "");

const now = Date.now();
const shop = issueCertificate({
  name: "shop",
  names: ["shop.test", "*.shop.test"],
  notBefore: now,
  notAfter: now + 9e9,
});
const over = issueCertificate({ name: "over", names: ["shop.test"], notBefore: now - 9e9, notAfter: now - 1e9 });
const cipher = { type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "x" } as const;
const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
const authority = issueCertificate({ name: "ca", names: [], isAuthority: true, notBefore: now, notAfter: now + 9e9 });
const ofAuthority = issueCertificate({
  ...{ name: "b", names: ["b.test"], issuer: authority },
  notBefore: now,
  notAfter: now + 9e9,
});
const files = {
  ...{
    "shop.pem": shop.certificatePem,
    "shop.key": shop.keyPem,
    "over.pem": over.certificatePem,
    "over.key": over.keyPem,
  },
  ...{
    "encrypted.key": privateKey.export(cipher),
    "old.key": privateKey.export({ ...cipher, type: "sec1" }),
    "shop.der": new X509Certificate(shop.certificatePem).raw,
    "key.der": createPrivateKey(shop.keyPem).export({ type: "pkcs8", format: "der" }),
    "shop.p12": Buffer.from("3082096c020103308209320609", "hex"),
    "order.pem": authority.certificatePem + ofAuthority.certificatePem,
    "order.key": ofAuthority.keyPem,
    "empty.pem": "nothing\n",
    "broken.pem": shop.certificatePem.replace(/MII.{9}/, "MIIxxxxxxxxx"),
  },
};
for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);

function read(raw: object, isOnlyChecked = false) {
  const { input, findings: first } = validate({ app: "app.js", ...raw });
  const findings: Finding[] = [...first];
  const runtimes = { bun: "/bin/bun", node: "/bin/node", preferred: "bun" as const };
  const context = { baseDir: folder, listenDir: folder, defaultName: "shop", runtimes, findings, isOnlyChecked };
  const config = resolveFleet(input, context);
  return { config, problems: findings.map(({ path, message }) => `${formatKeyPath(path)}: ${message}`) };
}

const pair = (name = "shop") => ({ certificates: [{ certificate: `${name}.pem`, key: `${name}.key` }] });
const internal = { internal: true };

test.each<[listen: string | string[], tls: object, addresses: string[], redirects?: (number | undefined)[]]>([
  ["https://127.0.0.1:8443", pair(), ["https://127.0.0.1:8443"]],
  [["8080", "https://[::1]:8443/"], pair(), ["http://127.0.0.1:8080", "https://[::1]:8443"]],
  [["http://127.0.0.1:8080", "https://localhost:1"], internal, ["http://127.0.0.1:8080", "https://127.0.0.1:1"]],
  ["https://:8443", internal, ["https://0.0.0.0:8443"]],
  ["https://127.0.0.1", internal, ["https://127.0.0.1:443"]],
  ["https://Shop.Test", pair(), ["https://shop.test", "http://[::]:80"], [undefined, 443]],
  ["https://www.shop.test:8443", pair(), ["https://www.shop.test:8443"]],
  [
    ["https://shop.test", "https://www.shop.test"],
    pair(),
    ["https://shop.test, https://www.shop.test", "http://[::]:80"],
  ],
  [[":80", "https://shop.test"], pair(), ["http://0.0.0.0:80", "https://shop.test"]],
  ["https://shop.test", { ...pair(), redirect: false }, ["https://shop.test"]],
  [
    "https://127.0.0.1:1",
    { ...internal, redirect: "127.0.0.1:2" },
    ["https://127.0.0.1:1", "http://127.0.0.1:2"],
    [undefined, 1],
  ],
])("listen %j with tls %j", (listen, tls, addresses, redirects) => {
  const { config, problems } = read({ listen, tls });
  expect(problems).toEqual([]);
  expect(config.listen.map(formatListenAddress)).toEqual(addresses);
  if (redirects !== undefined) expect(config.listen.map(({ redirect }) => redirect)).toEqual(redirects);
});

test("the resolved values", () => {
  const tls = { ...pair(), minVersion: "1.3", clientCa: "shop.pem", clientCertificates: "optional", hsts: true };
  expect(read({ listen: ["https://shop.test", "https://shop.test:8443"], tls }).config.tls).toEqual({
    certificates: [{ certificate: join(folder, "shop.pem"), key: join(folder, "shop.key") }],
    ...{ issuer: null, names: ["shop.test"], minVersion: "1.3", clientCa: join(folder, "shop.pem") },
    ...{ isClientOptional: true, hsts: "max-age=31536000" },
  });
  expect(read({ listen: "8080" }).config.tls).toBeUndefined();
});

const at = (name: string) => join(folder, name);
const secure = "https://127.0.0.1:8443";

test.each<[listen: string | string[], tls: object | undefined, problem: string]>([
  ["8080", internal, 'tls: needs an address such as "https://127.0.0.1:8443" in `listen`'],
  [
    secure,
    undefined,
    `listen: ${secure} needs a certificate: name its files in \`tls.certificates\`, or set \`tls.internal\`, \`tls.selfSigned\` or \`tls.automatic\``,
  ],
  [secure, { internal: true, selfSigned: true }, "tls.selfSigned: is not valid beside `internal`"],
  [secure, pair("none"), `tls.certificates[0].certificate: ${at("none.pem")} does not exist`],
  [
    secure,
    { certificates: [{ certificate: "shop.pem" }] },
    "tls.certificates[0].key: is missing: the file with the private key of the certificate",
  ],
  [
    secure,
    { certificates: [{ certificate: "shop.pem", key: "over.key" }] },
    `tls.certificates[0].key: ${at("over.key")} is not the key of the certificate in ${at("shop.pem")}`,
  ],
  [
    secure,
    { certificates: [{ certificate: "shop.pem", key: "encrypted.key" }] },
    `tls.certificates[0].key: ${at("encrypted.key")} is encrypted; decrypt it with: openssl pkey -in ${at("encrypted.key")} -out NEW-FILE`,
  ],
  [
    secure,
    { certificates: [{ certificate: "shop.pem", key: "old.key" }] },
    `tls.certificates[0].key: ${at("old.key")} is encrypted; decrypt it with: openssl pkey -in ${at("old.key")} -out NEW-FILE`,
  ],
  ...[
    ["shop.der", "shop.key", "certificate", "DER", "x509 -inform DER"],
    ["shop.pem", "key.der", "key", "DER", "pkey -inform DER"],
    ["shop.p12", "shop.key", "certificate", "PKCS #12", "pkcs12 -nodes"],
  ].map(([certificate = "", key = "", wrong, form, command]): [string, object, string] => {
    const file = at(wrong === "key" ? key : certificate);
    const problem = `${file} is in ${form}, not in PEM; convert it with: openssl ${command} -in ${file} -out NEW-FILE`;
    return [secure, { certificates: [{ certificate, key }] }, `tls.certificates[0].${wrong}: ${problem}`];
  }),
  [
    secure,
    pair("order"),
    `tls.certificates[0].certificate: ${at("order.pem")} has its certificates in the wrong order: the one of the server must come first, then the intermediate that signed it`,
  ],
  [
    secure,
    { certificates: [{ certificate: "empty.pem", key: "shop.key" }] },
    `tls.certificates[0].certificate: ${at("empty.pem")} has no certificate in PEM (-----BEGIN CERTIFICATE-----)`,
  ],
  [
    secure,
    { certificates: [{ certificate: "shop.pem", key: "empty.pem" }] },
    `tls.certificates[0].key: ${at("empty.pem")} has no private key in PEM (-----BEGIN PRIVATE KEY-----)`,
  ],
  [
    secure,
    { certificates: [{ certificate: "broken.pem", key: "shop.key" }] },
    `tls.certificates[0].certificate: ${at("broken.pem")} has a certificate that cannot be read`,
  ],
  [
    "https://other.test",
    pair(),
    "tls.certificates: have none for other.test, which is in `listen`; they are for shop.test, *.shop.test; with `tls.automatic` one is ordered",
  ],
  [secure, { ...internal, clientCa: "none.pem" }, `tls.clientCa: ${at("none.pem")} does not exist`],
  [secure, { ...internal, clientCertificates: "optional" }, "tls.clientCertificates: needs `clientCa`"],
  [
    secure,
    { ...internal, hsts: "forever" },
    'tls.hsts: must be true, false, or text such as "max-age=31536000; includeSubDomains", not "forever"',
  ],
  [
    ["8080", secure],
    { ...internal, redirect: "8080" },
    "tls.redirect: 127.0.0.1:8080 is taken by http://127.0.0.1:8080 in `listen`",
  ],
  [
    "https://shop",
    internal,
    'listen[0]: the host must be an IP address, localhost or a name such as shop.example, not "shop"',
  ],
  ["http://shop.test", internal, 'listen[0]: the host must be an IP address or localhost, not "shop.test"'],
  ["https://a.test/path", internal, 'listen[0]: must be a scheme, a host and a port, not "https://a.test/path"'],
  [
    ["https://a.test", "https://a.test"],
    internal,
    'listen[1]: "https://a.test" is the same address as "https://a.test"',
  ],
  [
    ["https://a.test", "https://127.0.0.1"],
    internal,
    'listen[1]: "https://a.test" includes "https://127.0.0.1": list one of them',
  ],
])("listen %j with tls %j is rejected", (listen, tls, problem) => {
  expect(read({ listen, ...(tls !== undefined && { tls }) }).problems).toEqual([problem]);
});

test("https is rejected where no balancer serves it", () => {
  const { problems } = read({ mode: "direct", listen: secure, tls: internal });
  expect(problems).toContainEqual(
    expect.stringMatching(/^listen\[0\]: "https:.*": https is only for pools that get requests/),
  );
});

test("an expired certificate is a problem for a check, and only a warning for a start", () => {
  expect(read({ listen: secure, tls: pair("over") }).problems).toEqual([]);
  expect(read({ listen: secure, tls: pair("over") }, true).problems).toEqual([
    expect.stringMatching(/^tls.certificates\[0\].certificate: .*over.pem has expired on \d{4}-\d\d-\d\d$/),
  ]);
});

test("a certificate with a common name alone is for that name, with a warning", () => {
  const certificate = certificateOf({
    ...{ subject: "Old.Test", issuer: "Old.Test", notBefore: now, notAfter: now + 9e9, extensions: [] },
    ...{ key: privateKey, issuerKey: privateKey },
  });
  writeFileSync(at("old.pem"), certificate);
  writeFileSync(at("plain.key"), privateKey.export({ type: "pkcs8", format: "pem" }));
  const files = { certificate: "old.pem", key: "plain.key" };
  const { config, problems } = read({ listen: "https://old.test", tls: { certificates: [files] } });
  expect(problems).toEqual([]);
  expect(certificateWarnings(config.tls?.certificates ?? [])).toEqual([
    `the certificate in ${at("old.pem")} has no subject alternative name, only the common name old.test: browsers refuse it; request it again with -addext subjectAltName=DNS:old.test`,
  ]);
  expect(certificateWarnings([{ certificate: at("shop.pem"), key: at("shop.key") }])).toEqual([]);
});

test.each([
  [
    "an RSA key of 512 bits",
    generateKeyPairSync("rsa", { modulusLength: 512 }),
    /weak.key is an RSA key of 512 bits, which/,
  ],
  [
    "a curve of no TLS client",
    generateKeyPairSync("ec", { namedCurve: "secp256k1" }),
    /weak.key is on an elliptic curve/,
  ],
] as const)("%s is refused", (_, { privateKey: key }, problem) => {
  const dates = { notBefore: now, notAfter: now + 9e9, extensions: [] };
  const certificate = certificateOf({ ...dates, subject: "a", issuer: "a", key, issuerKey: privateKey });
  writeFileSync(at("weak.pem"), certificate);
  writeFileSync(at("weak.key"), key.export({ type: "pkcs8", format: "pem" }));
  const tls = { certificates: [{ certificate: "weak.pem", key: "weak.key" }] };
  expect(read({ listen: "https://a.test", tls }).problems).toEqual([expect.stringMatching(problem)]);
});

test("a common name that is not a host name is not proposed as an alternative name", () => {
  const dates = { notBefore: now, notAfter: now + 9e9, extensions: [] };
  const names = { subject: "My Own CA", issuer: "My Own CA" };
  writeFileSync(at("own.pem"), certificateOf({ ...dates, ...names, key: privateKey, issuerKey: privateKey }));
  writeFileSync(at("own.key"), privateKey.export({ type: "pkcs8", format: "pem" }));
  expect(certificateWarnings([{ certificate: at("own.pem"), key: at("own.key") }])).toEqual([
    expect.stringMatching(
      /only the common name my own ca: .* subjectAltName=DNS:NAME, with the name that clients use$/,
    ),
  ]);
});
