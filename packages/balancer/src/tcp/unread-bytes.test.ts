/** Who gives way when peers do not read. */
import { expect, test } from "vitest";
import { BufferBudget } from "../exchange/buffer-budget.js";
import { UnreadBytes } from "./unread-bytes.js";

const FREE = 16_384;

test("the one that has been blocked for longest gives way, until there is room", () => {
  const budget = new BufferBudget(100);
  const unread = new UnreadBytes(budget);
  const gone: string[] = [];
  const peer = (name: string) => ({ share: 0, giveWay: () => void gone.push(name) });
  const [a, b, c, d] = [peer("a"), peer("b"), peer("c"), peer("d")];
  expect(unread.block(a, FREE + 50)).toBe(true);
  expect(unread.block(b, FREE + 50)).toBe(true);
  // It has read meanwhile, and is blocked anew.
  expect(unread.block(a, FREE + 40)).toBe(true);
  expect(unread.block(c, FREE + 20)).toBe(true);
  expect(gone).toEqual(["b"]);
  unread.free(c);
  expect(unread.block(d, FREE + 60)).toBe(true);
  expect(gone).toEqual(["b"]);
  expect(unread.block(c, FREE + 101)).toBe(false);
  expect(gone).toEqual(["b", "a", "d"]);
  expect(unread.block(c, 100)).toBe(true);
  for (const each of [a, b, c, d]) unread.free(each);
  expect(budget.take(100)).toBe(true);
});
