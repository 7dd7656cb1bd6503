import { expect, test } from "vitest";
import { type CertificateView, summaryOf, troubleOf } from "./certificates.js";

const DAY = 86_400_000;
const NOW = Date.UTC(2026, 10, 1);

const view = (more: Partial<CertificateView>): CertificateView => ({
  ...{ names: ["shop.example"], source: "automatic", issuer: "R11", state: "valid", isRecalled: false },
  ...{ notBefore: NOW - 30 * DAY, notAfter: NOW + 60 * DAY, nextOrderAt: NOW + 30 * DAY, lastError: null },
  isOnDemand: false,
  ...more,
});
const none = { issuer: null, notBefore: null, notAfter: null };
const lastError = { at: NOW, message: "ca.example: no such name" };

test.each([
  ["a valid one", view({}), undefined],
  [
    "one that is being ordered",
    view({ ...none, state: "ordering" }),
    "warning: https does not work for shop.example yet: its certificate is being ordered",
  ],
  [
    "one that could not be ordered",
    view({ ...none, state: "failed", lastError, nextOrderAt: NOW + 90_000 }),
    "fault: https does not work for shop.example yet: its certificate is missing: ca.example: no such name; next attempt in 1 min 30 s",
  ],
  ["a renewal that failed once", view({ lastError }), undefined],
  [
    "a renewal that fails for long",
    view({ lastError, notAfter: NOW + 8 * DAY, nextOrderAt: NOW }),
    "warning: the certificate of shop.example expires in 8 days: ca.example: no such name",
  ],
  [
    "an expired one",
    view({ notAfter: NOW - 3 * DAY, nextOrderAt: null }),
    "fault: the certificate of shop.example expired 3 days ago",
  ],
  [
    "a recalled one",
    view({ isRecalled: true }),
    "warning: the CA wants the certificate of shop.example replaced at once, as after a revocation",
  ],
  ["a file with two weeks", view({ source: "file", notAfter: NOW + 13 * DAY }), undefined],
  [
    "a file that expires soon",
    view({ source: "file", notAfter: NOW + 4 * DAY }),
    "warning: the certificate of shop.example expires in 4 days",
  ],
  [
    "a file whose new version cannot be used",
    view({ source: "file", lastError: { at: NOW, message: "/a.pem is empty" } }),
    "warning: the new certificate of shop.example cannot be used: /a.pem is empty; the one in use expires in 60 days",
  ],
  ["a self-signed one", view({ source: "self-signed", notAfter: NOW + DAY }), undefined],
] as const)("%s", (_, given, expected) => {
  const trouble = troubleOf(given, NOW);
  expect(trouble && `${trouble.isBad ? "fault" : "warning"}: ${trouble.reason}`).toBe(expected);
});

test.each([
  ["local", /^Fix this error of this machine; then paceline certs renew shop\.example$/],
  ["unreachable", /^Check that this machine reaches the CA/],
  ["account", /externalAccount/],
  ["limited", /^Wait/],
  ["challenge", /^Check that the DNS records of shop\.example/],
  [undefined, /^Check that the DNS records of shop\.example/],
] as const)("what to do after an error of the kind %s", (kind, expected) => {
  const failed = view({ ...none, state: "failed", lastError: { at: NOW, message: "no space left on device", kind } });
  expect(troubleOf(failed, NOW)?.todo).toMatch(expected);
});

test("a summary has faults first, and is bounded", () => {
  const all = [view({ names: ["late.example"], notAfter: NOW + 2 * DAY, lastError })];
  for (let at = 0; at < 20; at++) all.push(view({ ...none, state: "failed", lastError, names: [`${at}.example`] }));
  const summary = summaryOf(all, NOW);
  expect(summary.count).toBe(21);
  expect(summary.soonest).toEqual([{ name: "late.example", source: "automatic", notAfter: NOW + 2 * DAY }]);
  expect(summary.problems).toHaveLength(8);
  expect(summary.problems.every(({ isBad }) => isBad)).toBe(true);
  const nine = Array.from({ length: 9 }, (_, at) => view({ names: [`${at}.example`], notAfter: NOW + (9 - at) * DAY }));
  expect(summaryOf(nine, NOW).soonest.map(({ name }) => name)).toEqual(
    [8, 7, 6, 5, 4, 3, 2, 1].map((at) => `${at}.example`),
  );
  expect(summaryOf([], NOW)).toEqual({ count: 0, soonest: [], problems: [] });
});
