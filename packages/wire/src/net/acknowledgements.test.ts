import { expect, it } from "vitest";
import { SureBytes } from "./acknowledgements.js";

it("counts bytes as read once a later reading no longer has them in the queues", () => {
  const sure = new SureBytes();
  const noted = [
    [100, 0, 10, 5],
    // The reading was requested before the bytes were written.
    [300, 40, 20, 9],
    [300, 40, 30, 11],
    // A further reading has the queue of later bytes.
    [500, 250, 40, 35],
    [500, 0, 50, 45],
  ].map((numbers) => sure.note(...(numbers as [number, number, number, number])));
  expect(noted).toEqual([0, 0, 60, 60, 500]);
});
