/** Which lines of a balancer's output are recorded, and what of them. */
import { expect, test } from "vitest";
import { recordedOf } from "./record.js";

const DATE = "[26/Nov/2026:17:12:26 +0000]";

test("a line of the access log, without the client, its fields and the values of the query", () => {
  const line = `192.0.2.7 - - ${DATE} "GET /cart?id=3 HTTP/1.1" 200 5124 "http://shop.test/?token=s" "curl/8.5.0" 0.003120 web.2`;
  expect(recordedOf(line, 10_500, 10_000)).toEqual({
    atMs: 497,
    method: "GET",
    path: "/cart?id=",
    status: 200,
    bytes: 5124,
    ms: 3.12,
  });
  // It began before the recording.
  expect(recordedOf(line, 10_000, 10_000)?.atMs).toBe(0);
});

test.each([
  "access log: 3 lines were lost, they could not be written in time",
  `192.0.2.7 - - ${DATE} "-" 400 11 "-" "-" 0.000000 -`,
  `192.0.2.7 - - ${DATE} "CONNECT shop.test:443 HTTP/1.1" 400 11 "-" "-" 0.000000 -`,
  "",
])("%# is no request", (line) => {
  expect(recordedOf(line, 0, 0)).toBeUndefined();
});
