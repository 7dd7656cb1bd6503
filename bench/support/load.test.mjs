/** The figures are read from the output of ab and wrk, in any unit. */
import { describe, expect, test } from "vitest";
import { parseAb, parseWrk } from "./load.mjs";

const AB = `Concurrency Level:      1000
Time taken for tests:   6.402 seconds
Complete requests:      50000
Failed requests:        0
Total transferred:      6500000 bytes
Requests per second:    7809.51 [#/sec] (mean)
Time per request:       128.049 [ms] (mean)

Connection Times (ms)
              min  mean[+/-sd] median   max
Connect:        0   60  12.1     59     110
Total:         20  127  18.5    125     241

Percentage of the requests served within a certain time (ms)
  50%    125
  66%    131
  99%    188
 100%    241 (longest request)
`;

const WRK = `Running 5s test @ http://127.0.0.1:8080/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.05ms    1.20ms  31.05ms   92.10%
    Req/Sec    33.55k     2.10k   36.10k    70.00%
  Latency Distribution
     50%  812.00us
     75%    2.10ms
     90%    3.30ms
     99%    1.02s
  168700 requests in 5.01s, 25.10MB read
Requests/sec:  33672.65
Transfer/sec:      5.01MB
`;

describe("ab", () => {
  test("rate, time and percentiles", () => {
    expect(parseAb(AB)).toEqual({
      requests: 50_000,
      failed: 0,
      seconds: 6.402,
      requestsPerSecond: 7809.51,
      p50Ms: 125,
      p99Ms: 188,
    });
  });

  test("an error page counts once, although ab counts it for its length and because its status is not 2xx", () => {
    const failures = `Failed requests:        30
   (Connect: 0, Receive: 2, Length: 25, Exceptions: 3)
Non-2xx responses:      25`;
    expect(parseAb(AB.replace("Failed requests:        0", failures)).failed).toBe(30);
  });

  test("an error page as long as the response counts, too", () => {
    expect(
      parseAb(AB.replace("Failed requests:        0", "Failed requests:        0\nNon-2xx responses:      7")).failed,
    ).toBe(7);
  });
});

describe("wrk", () => {
  test("rate, time and percentiles in milliseconds", () => {
    expect(parseWrk(WRK)).toEqual({
      requests: 168_700,
      failed: 0,
      seconds: 5.01,
      requestsPerSecond: 33_672.65,
      p50Ms: 0.812,
      p99Ms: 1020,
    });
  });

  test("socket errors and bad statuses are failures", () => {
    const failures =
      "25.10MB read\n  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 5\n";
    expect(parseWrk(WRK.replace("25.10MB read\n", failures)).failed).toBe(15);
  });
});
