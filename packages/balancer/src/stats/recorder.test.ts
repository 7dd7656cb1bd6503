/** What is recorded of a request, and that nothing secret is recorded. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { SavedHead } from "../exchange/saved-head.js";
import { Recorder, withoutSecrets } from "./recorder.js";

test.each([
  ["/", "/"],
  ["/cart?id=3&token=abc", "/cart?id=&token="],
  ["/cart?secret", "/cart?"],
  ["/reset/0123456789abcdef0123456789abcdef", "/reset/*"],
  ["/a-very-long-name-of-an-article-about-bicycles", "/a-very-long-name-of-an-article-about-bicycles"],
  ["/reset/abcdefghijklmnopqrstuvwxyzabcdefgh", "/reset/*"],
  ["/reset/abcdef-ghijklmnopqrstuvwxyzabcdefghijkl", "/reset/*"],
  ["/cart;jsessionid=1A2B;secret/x%3Bsid%3D9", "/cart;jsessionid=/x;sid="],
  ["/a?x=1#secret", "/a?x="],
])("%s is recorded as %s", (target, expected) => {
  expect(withoutSecrets(target)).toBe(expected);
});

beforeEach(() => {
  vi.useFakeTimers({ now: 1_000_000 });
});
afterEach(() => {
  vi.useRealTimers();
});

function headOf(text: string): SavedHead {
  const head = new SavedHead();
  const bytes = Buffer.from(text, "latin1");
  head.keep(bytes, 0, bytes.length);
  return head;
}

test("method, path, time, status, size and duration; no fields, and no request without a path", () => {
  const sent: unknown[] = [];
  const recorder = new Recorder((requests, lost) => sent.push({ requests, lost }) > 0);
  const fields = "Host: shop.test\r\nCookie: sid=swordfish\r\nAuthorization: Bearer swordfish\r\n\r\n";
  recorder.request(headOf(`\r\nPOST /cart?id=swordfish HTTP/1.1\r\n${fields}`), 201, 5124, 3.1201);
  recorder.request(headOf(`CONNECT shop.test:443 HTTP/1.1\r\n${fields}`), 400, 0, 0);
  recorder.request(headOf(`GET http://user:swordfish@shop.test/ HTTP/1.1\r\n${fields}`), 200, 0, 0);
  recorder.request(new SavedHead(), 400, 0, 0);
  recorder.request(headOf(`GET /${"a/".repeat(505)}${"swordfish".repeat(200)} HTTP/1.1\r\n${fields}`), 200, 0, 0);
  expect(sent).toEqual([]);
  vi.advanceTimersByTime(100);
  const [first, second] = (sent[0] as { requests: { path: string }[] }).requests;
  expect(first).toEqual({ at: 999_997, method: "POST", path: "/cart?id=", status: 201, bytes: 5124, ms: 3.12 });
  expect(second?.path).toBe(`/${"a/".repeat(505)}*`);
  expect(JSON.stringify(sent)).not.toMatch(/swordfish|shop/);
  vi.advanceTimersByTime(1000);
  expect(sent).toHaveLength(1);
});

test("requests that cannot be sent are counted", () => {
  const sent: [count: number, lost: number][] = [];
  let isRead = false;
  const recorder = new Recorder((requests, lost) => {
    if (isRead) sent.push([requests.length, lost]);
    return isRead;
  });
  const head = headOf("GET / HTTP/1.1\r\n\r\n");
  for (let count = 0; count < 310; count++) recorder.request(head, 200, 1, 1);
  isRead = true;
  recorder.flush();
  recorder.flush();
  expect(sent).toEqual([[10, 300]]);
  recorder.request(head, 200, 1, 1);
  recorder.flush();
  expect(sent[1]).toEqual([1, 0]);
});
