/** A queued request's head is parsed once, within a limit. */
import { expect, it, vi } from "vitest";
import { HEAD_LIMITS } from "../../test/support/lane-bench.js";
import { RequestHead } from "../http1/request-head.js";
import { type HeadOwner, MAX_SPARE_HEADS, SavedHead, SpareHeads } from "./saved-head.js";

const makeHead = () => new RequestHead(HEAD_LIMITS);

function bench() {
  const owner: HeadOwner = { requestHead: makeHead(), spareHeads: new SpareHeads(makeHead) };
  const parse = vi.spyOn(RequestHead.prototype, "parse");
  /** A request arrives and is queued. */
  const queued = (target: string, padding = "") => {
    const bytes = Buffer.from(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n${padding}`);
    const head = owner.requestHead;
    const end = head.parse(bytes, 0, bytes.length);
    const saved = new SavedHead();
    saved.keep(bytes, 0, end);
    saved.routed({ target: {}, segments: 0, ordinal: 0 } as never, head);
    saved.keepParsed(owner);
    return saved;
  };
  /** Sends the request; returns its target, and whether it was parsed for that. */
  const sent = (saved: SavedHead): [string, boolean] => {
    parse.mockClear();
    const { target, targetStart, targetEnd } = saved.parse(owner);
    return [Buffer.from(target).toString("latin1", targetStart, targetEnd), parse.mock.calls.length > 0];
  };
  return { owner, queued, sent };
}

it("keeps the heads of queued requests parsed, each separately", () => {
  const { queued, sent } = bench();
  const all = ["/a", "/b", "/c"].map((target) => queued(target));
  expect(all.reverse().map(sent)).toEqual([
    ["/c", false],
    ["/b", false],
    ["/a", false],
  ]);
  // Sent again, to another upstream.
  expect(sent(all[0] as SavedHead)).toEqual(["/c", true]);
});

it("parses those beyond the limit again, until others are sent or abandoned", () => {
  const { queued, sent } = bench();
  const all = Array.from({ length: MAX_SPARE_HEADS + 1 }, (_, at) => queued(`/${at}`));
  const last = all.pop() as SavedHead;
  expect(sent(last)).toEqual([`/${MAX_SPARE_HEADS}`, true]);
  expect(sent(all.pop() as SavedHead)[1]).toBe(false);
  all.pop()?.clear();
  const again = ["/x", "/y", "/z"].map((target) => queued(target));
  expect(again.map(sent)).toEqual([
    ["/x", false],
    ["/y", false],
    ["/z", true],
  ]);
  expect(all.map(sent).every(([, isParsed]) => !isParsed)).toBe(true);
});

it("does not hold a large read for a parsed head", () => {
  const { queued, sent } = bench();
  expect(sent(queued("/a", "x".repeat(70_000)))).toEqual(["/a", true]);
});
