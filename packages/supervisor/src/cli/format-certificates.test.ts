import { expect, it } from "vitest";
import type { CertificateView } from "../core/certificates.js";
import { formatCertificates } from "./format-certificates.js";

const DAY = 86_400_000;
const NOW = Date.UTC(2026, 10, 1);
const VIEW: CertificateView = {
  ...{
    names: ["shop.example"],
    source: "automatic",
    issuer: "R11",
    state: "valid",
    isRecalled: false,
    isOnDemand: false,
  },
  ...{ notBefore: NOW - 30 * DAY, notAfter: NOW + 60 * DAY, nextOrderAt: NOW + 30.5 * DAY, lastError: null },
};

it("has a line for each certificate", () => {
  const file: CertificateView = {
    ...{ ...VIEW, names: ["a.example", "b.example", "c.example"], source: "file", nextOrderAt: null },
  };
  expect(formatCertificates([VIEW, file], NOW)).toBe(
    [
      "NAME                  SOURCE     ISSUER  STATE  LEFT  RENEWED IN",
      "shop.example          automatic  R11     valid  60 d  30 d",
      "a.example and 2 more  file       R11     valid  60 d  -",
    ].join("\n"),
  );
  expect(formatCertificates([], NOW)).toBe("the fleet has no certificates: no address in listen is https");
});

it("shows below it what is wrong, and what may help", () => {
  const failed: CertificateView = {
    ...{ ...VIEW, issuer: null, notBefore: null, notAfter: null, state: "failed", nextOrderAt: NOW + 60_000 },
    lastError: { at: NOW, message: "ca.example: no A record for shop.example" },
  };
  const once: CertificateView = {
    ...VIEW,
    names: ["once.example"],
    lastError: { at: NOW, message: "ca.example: status 503" },
  };
  expect(formatCertificates([failed, once], NOW)).toBe(
    [
      "NAME          SOURCE     ISSUER  STATE   LEFT  RENEWED IN  LAST TRY",
      "shop.example  automatic  -       failed  -     1 min       failed",
      "once.example  automatic  R11     valid   60 d  30 d        failed",
      "",
      "https does not work for shop.example yet: its certificate is missing:",
      "  ca.example: no A record for shop.example; next attempt in 1 min",
      "  → Check that the DNS records of shop.example point to this machine and that",
      "    ports 80 and 443 are reachable; then paceline certs renew shop.example",
      "once.example: ca.example: status 503",
    ].join("\n"),
  );
});
