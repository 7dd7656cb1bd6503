import { describe, expect, it } from "vitest";
import { boundaryOf, FormParts, partHead } from "./form-parts.js";

describe("the parts of a form", () => {
  it("are received no faster than they are read", async () => {
    let release = () => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    let read = 0;
    const parts = await FormParts.of("b", 1000, async (_, pieces) => {
      await gate;
      for await (const piece of pieces) read += piece.length;
    });
    await parts.write(Buffer.from('--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'));
    let written = 0;
    const writing = (async () => {
      for (let n = 0; n < 100; n++) {
        await parts.write(Buffer.alloc(65_536));
        written++;
      }
      await parts.write(Buffer.from("\r\n--b--\r\n"));
      await parts.end();
    })();
    for (let n = 0; n < 50; n++) await new Promise((resolve) => setImmediate(resolve));
    expect(written).toBeLessThan(10);
    release();
    await writing;
    expect(read).toBe(100 * 65_536);
  });
});

describe("the header of a form", () => {
  it.each([
    ["multipart/form-data; boundary=abc", "abc"],
    ['Multipart/Form-Data ;charset=utf-8; BOUNDARY="a b=c"', "a b=c"],
    ["multipart/form-data; boundary=", null],
    ['multipart/form-data; boundary="a "', null],
    ["multipart/form-datax; boundary=a", undefined],
    [null, undefined],
  ])("%s", (type, expected) => {
    expect(boundaryOf(type)).toBe(expected);
  });

  it.each([
    ['form-data; name="a"', { name: "a", fileName: undefined, type: "text/plain" }],
    ["form-data; name=a; filename=b", { name: "a", fileName: "b", type: "application/octet-stream" }],
    ['form-data; name="a;b"; filename="c\\"d;e"', { name: "a;b", fileName: 'c"d;e', type: "application/octet-stream" }],
    [
      "form-data; name=\"a\"; filename*=UTF-8''%e2%82%ac",
      { name: "a", fileName: "\u20ac", type: "application/octet-stream" },
    ],
    ["form-data; name=\"a\"; filename*=UTF-8''%zz", { name: "a", fileName: "%zz", type: "application/octet-stream" }],
    ['form-data; filename="b"', undefined],
    ['attachment; name="a"', undefined],
    ["", undefined],
  ])("%s", (disposition, expected) => {
    expect(partHead({ "content-disposition": [disposition] })).toEqual(expected);
  });
});
