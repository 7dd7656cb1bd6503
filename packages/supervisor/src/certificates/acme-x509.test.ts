/** Certificates made and read here, compared with node:crypto and with the examples of the RFCs. */
import { createPublicKey, X509Certificate } from "node:crypto";
import { expect, it, test } from "vitest";
import { alpnCertificate, certificateRequest, readCertificate, renewalId } from "./acme-x509.js";
import { der, integer, oid, readDer, TAG, time } from "./der.js";
import { newKey } from "./x509.js";

test("a certificate for tls-alpn-01 is valid, for that name, and has the digest", () => {
  const key = newKey();
  const now = Date.UTC(2026, 1, 3);
  const pem = alpnCertificate("shop.example", "token.print", key, now);
  const { names, notBefore, notAfter, certificate } = readCertificate(pem);
  expect(names).toEqual(["shop.example"]);
  expect([notBefore, notAfter]).toEqual([now - 3_600_000, now + 86_400_000]);
  expect(certificate.checkPrivateKey(key)).toBe(true);
  expect(certificate.verify(createPublicKey(key))).toBe(true);
  // The OID 1.3.6.1.5.5.7.1.31, critical.
  expect(certificate.raw.toString("hex")).toContain("06082b0601050507011f0101ff04220420");
});

test("a request has the names and a signature of the key", () => {
  const request = certificateRequest(["a.example", "b.example"], newKey());
  const [whole] = readDer(request);
  expect(readDer(whole?.content ?? Buffer.alloc(0)).map(({ tag }) => tag)).toEqual([
    TAG.sequence,
    TAG.sequence,
    TAG.bitString,
  ]);
  expect(request.includes("a.example") && request.includes("b.example")).toBe(true);
});

test.each([
  [oid("2.5.29.17"), "0603551d11"],
  [oid("1.2.840.113549.1.9.14"), "06092a864886f70d01090e"],
  [integer(Buffer.from("0080", "hex")), "02020080"],
  [integer(Buffer.from("00000001", "hex")), "020101"],
  [integer(Buffer.alloc(0)), "020100"],
  [time(Date.UTC(2049, 11, 31)), "170d3439313233313030303030305a"],
  [time(Date.UTC(2050, 0, 1)), "180f32303530303130313030303030305a"],
  [der(TAG.octetString, Buffer.alloc(200)).subarray(0, 3), "0481c8"],
  [der(TAG.octetString, Buffer.alloc(300)).subarray(0, 4), "0482012c"],
])("DER %#", (bytes, hex) => {
  expect(bytes.toString("hex")).toBe(hex);
});

it.each(["30", "3080", "300501", "3085ffffffffff"])("refuses malformed DER: %s", (hex) => {
  expect(() => readDer(Buffer.from(hex, "hex"))).toThrow(RangeError);
});

/** From RFC 9773, appendix A. */
const EXAMPLE = `-----BEGIN CERTIFICATE-----
MIIBQzCB66ADAgECAgUAh2VDITAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt
cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS
BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu
7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf
qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B
yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb
+FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK
-----END CERTIFICATE-----
`;

test("the id with which a CA is asked when to renew", () => {
  expect(renewalId(new X509Certificate(EXAMPLE))).toBe("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
  expect(renewalId(new X509Certificate(alpnCertificate("a.example", "x", newKey(), 0)))).toBe(undefined);
});
