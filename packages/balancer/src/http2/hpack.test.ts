/** HPACK: the examples of RFC 7541, errors of a peer, and a comparison with node:http2. */
import { once } from "node:events";
import http2 from "node:http2";
import { Duplex } from "node:stream";
import { describe, expect, it } from "vitest";
import { ResponseHead } from "../http1/response-head.js";
import { FrameBuffer } from "./frame-buffer.js";
import { FrameReader } from "./frame-reader.js";
import { decodeHuffman, type FieldSink, HpackDecoder } from "./hpack-decoder.js";
import { HpackEncoder } from "./hpack-encoder.js";
import { FrameType, Setting } from "./protocol.js";

class Lines implements FieldSink {
  lines: string[] = [];

  onField(_kind: number, bytes: Uint8Array, start: number, nameEnd: number, valueEnd: number): void {
    const text = Buffer.from(bytes.subarray(start, valueEnd + 2)).toString("latin1");
    expect(text.slice(nameEnd - start, nameEnd - start + 2)).toBe(": ");
    expect(text.endsWith("\r\n")).toBe(true);
    this.lines.push(text.slice(0, -2));
  }

  onLongField(): void {
    this.lines.push("too long");
  }
}

function decoder(lineBytes = 20_000) {
  const hpack = new HpackDecoder(Buffer.alloc(lineBytes));
  return (block: string | Uint8Array): string[] | "invalid" => {
    const bytes = typeof block === "string" ? Buffer.from(block.replaceAll(" ", ""), "hex") : block;
    const sink = new Lines();
    return hpack.decode(bytes, 0, bytes.length, sink) ? sink.lines : "invalid";
  };
}

const GET = [":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"];
const GET_SECURE = [":method: GET", ":scheme: https", ":path: /index.html", ":authority: www.example.com"];
const FIRST_DATE = "date: Mon, 21 Oct 2013 20:13:21 GMT";
const PRIVATE = "cache-control: private";
const LOCATION = "location: https://www.example.com";
const LAST = [
  ...[":status: 200", PRIVATE, "date: Mon, 21 Oct 2013 20:13:22 GMT", LOCATION, "content-encoding: gzip"],
  "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
];
/** The examples of responses use a table of 256 bytes. */
const SMALL = "3fe101";

describe("the examples of RFC 7541 Appendix C", () => {
  it.each([
    ["C.2.1", [["400a637573746f6d2d6b65790d637573746f6d2d686561646572", ["custom-key: custom-header"]]]],
    ["C.2.2", [["040c2f73616d706c652f70617468", [":path: /sample/path"]]]],
    ["C.2.3", [["100870617373776f726406736563726574", ["password: secret"]]]],
    ["C.2.4", [["82", [":method: GET"]]]],
    [
      "C.3",
      [
        ["828684410f7777772e6578616d706c652e636f6d", GET],
        ["828684be58086e6f2d6361636865", [...GET, "cache-control: no-cache"]],
        ["828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565", [...GET_SECURE, "custom-key: custom-value"]],
      ],
    ],
    [
      "C.4",
      [
        ["828684418cf1e3c2e5f23a6ba0ab90f4ff", GET],
        ["828684be5886a8eb10649cbf", [...GET, "cache-control: no-cache"]],
        ["828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf", [...GET_SECURE, "custom-key: custom-value"]],
      ],
    ],
    [
      "C.5",
      [
        [
          `${SMALL}4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d`,
          [":status: 302", PRIVATE, FIRST_DATE, LOCATION],
        ],
        ["4803333037c1c0bf", [":status: 307", PRIVATE, FIRST_DATE, LOCATION]],
        [
          "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
          LAST,
        ],
      ],
    ],
    [
      "C.6",
      [
        [
          `${SMALL}488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3`,
          [":status: 302", PRIVATE, FIRST_DATE, LOCATION],
        ],
        ["4883640effc1c0bf", [":status: 307", PRIVATE, FIRST_DATE, LOCATION]],
        [
          "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
          LAST,
        ],
      ],
    ],
  ] as const)("%s", (_, blocks) => {
    const decode = decoder();
    for (const [block, fields] of blocks) expect(decode(block)).toEqual(fields);
  });
});

describe("the decoder", () => {
  it.each([
    ["index 0", "80"],
    ["an index behind the tables", "be"],
    ["a name's index behind the tables", "7e0161"],
    ["a number without end", "ff808080808001"],
    ["a number cut off", "ff80"],
    ["a string cut off", "00056162"],
    ["a value that is not there", "000161"],
    ["a table larger than allowed", "3fe21f"],
    ["a change of the table's size after a field", "8220"],
    ["a third change of the table's size", "202020"],
    ["Huffman's EOS", "000161 84ffffffff"],
    ["padding with a 0", "000161 81f0"],
    ["padding of more than 7 bits", "000161 821fff"],
  ])("rejects %s", (_, block) => {
    expect(decoder()(block)).toBe("invalid");
  });

  it("empties the table for an entry that is larger than the table, and drops a field that is longer than allowed", () => {
    const decode = decoder();
    expect(decode("4001610162")).toEqual(["a: b"]);
    expect(decode("be")).toEqual(["a: b"]);
    const long = Buffer.concat([Buffer.from("4001617fe11e", "hex"), Buffer.alloc(4064, "x")]);
    expect(decode(long)).toEqual([`a: ${"x".repeat(4064)}`]);
    expect(decode("be")).toBe("invalid");
    const longer = decoder(1000);
    expect(longer(long)).toEqual(["too long"]);
  });

  it("keeps the table correct over many evictions", () => {
    const decode = decoder();
    const fields: string[] = [];
    for (let n = 0; n < 2000; n++) {
      const [name, value] = [`n${n % 7}`, "v".repeat(n % 300) + n];
      const length = Buffer.from(value.length < 127 ? [value.length] : lengthOf(value.length));
      const block = Buffer.concat([Buffer.from([64, name.length]), Buffer.from(name), length, Buffer.from(value)]);
      expect(decode(block)).toEqual([`${name}: ${value}`]);
      fields.unshift(`${name}: ${value}`);
      let size = 0;
      const live = fields.filter((field) => {
        size += field.length - 2 + 32;
        return size <= 4096;
      });
      fields.length = live.length;
      const last = live.length - 1;
      expect(decode(indexed(last))).toEqual([live[last]]);
      expect(decode(indexed(n % live.length))).toEqual([live[n % live.length]]);
    }
  });

  function lengthOf(value: number): number[] {
    const rest = value - 127;
    return rest < 128 ? [127, rest] : [127, (rest & 127) | 128, rest >> 7];
  }

  function indexed(entry: number): Uint8Array {
    const index = 62 + entry;
    return Buffer.from(index < 127 ? [128 | index] : [255, index - 127]);
  }

  it("decodes every byte of the Huffman code, and no more than there is room for", () => {
    const to = Buffer.alloc(4);
    expect(decodeHuffman(Buffer.from("1f", "hex"), 0, 1, to, 0, 4)).toBe(1);
    expect(to.toString("latin1", 0, 1)).toBe("a");
    expect(decodeHuffman(Buffer.from("18c6", "hex"), 0, 2, to, 0, 2)).toBe(-2);
  });
});

/** Forwards the output of node:http2 to a test, and the output of the test to node:http2. */
class Wire extends Duplex {
  sent: Buffer[] = [];
  override _read(): void {}
  override _write(bytes: Buffer, _: string, done: () => void): void {
    this.sent.push(bytes);
    this.emit("sent");
    done();
  }
}

/** Returns the blocks of the HEADERS frames in these bytes. */
function blocksIn(reader: FrameReader, bytes: Buffer): Buffer[] {
  const blocks: Buffer[] = [];
  reader.read(bytes, {
    onFrame: (type, flags, _id, from, start, end) => {
      // node:http2 sends a priority with none of its own.
      if (type === FrameType.HEADERS)
        blocks.push(Buffer.from(from.subarray(start + ((flags & 32) === 0 ? 0 : 5), end)));
      return true;
    },
    onDataStart: () => true,
    onData: () => true,
  });
  return blocks;
}

let seed = 7;
const random = (below: number) => {
  seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff;
  return seed % below;
};
const TEXT = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).join("");
const word = (length: number) =>
  Array.from({ length }, () => TEXT[random(TEXT.length)])
    .join("")
    .trim();

describe("compared with node:http2", () => {
  it("decodes what a client of node:http2 sends", async () => {
    const wire = new Wire();
    const client = http2.connect("http://a.test", { createConnection: () => wire });
    client.on("error", () => {});
    const decode = decoder();
    const reader = new FrameReader();
    const server = new FrameBuffer();
    server.settings([[Setting.MAX_CONCURRENT_STREAMS, 1000]]);
    wire.push(Buffer.from(server.bytes.subarray(0, server.length)));
    await once(client, "remoteSettings");
    let isPrefaced = false;
    for (let n = 0; n < 300; n++) {
      const fields: Record<string, string> = {
        ":path": `/${n % 5}`,
        "user-agent": "x",
        [`x-${n % 9}`]: word(random(80)),
      };
      for (let i = 0; i < random(6); i++) fields[`y-${random(40)}`] = word(random(200));
      if (isPrefaced) wire.sent = [];
      client.request(fields, { endStream: true }).on("error", () => {});
      await once(wire, "sent");
      await new Promise((resolve) => setImmediate(resolve));
      let bytes = Buffer.concat(wire.sent);
      if (!isPrefaced) bytes = bytes.subarray(24);
      isPrefaced = true;
      const decoded = blocksIn(reader, bytes).flatMap(decode);
      for (const [name, value] of Object.entries(fields)) expect(decoded).toContain(`${name}: ${value}`);
      expect(decoded).toHaveLength(Object.keys(fields).length + 3);
    }
    client.destroy();
  });

  it("sends heads that a client of node:http2 reads, with smaller and smaller tables", async () => {
    const wire = new Wire();
    const client = http2.connect("http://a.test", { createConnection: () => wire, settings: {} });
    client.on("error", () => {});
    const encoder = new HpackEncoder();
    const frames = new FrameBuffer();
    frames.settings([]);
    const head = new ResponseHead();
    const date = Buffer.from("Mon, 21 Oct 2013 20:13:21 GMT");
    for (let n = 0; n < 300; n++) {
      if (n === 150) {
        client.settings({ headerTableSize: 200 });
        encoder.resize(200);
        encoder.resize(300);
        encoder.resize(200);
      }
      const fields = ["Content-Type: text/html", `Vary: ${random(7)}`, `X-Powered-By: ${"p".repeat(random(120))}`];
      for (let i = 0; i < random(6); i++) fields.push(`X-Y-${i}: ${word(random(200))}`, `Server: ${random(3)}`);
      if (n % 3 === 0) fields.push("Set-Cookie: a=b", "Set-Cookie: c=d");
      const text = Buffer.from(
        `HTTP/1.1 ${200 + random(300)} X\r\n${fields.join("\r\n")}\r\nContent-Length: ${n}\r\n\r\n`,
      );
      expect(head.parse(text, 0, text.length, false)).toBe(text.length);
      const request = client.request({ ":path": "/" }, { endStream: true });
      const got = once(request, "response");
      await once(wire, "sent");
      const stream = 2 * n + 1;
      frames.beginHead(stream);
      encoder.response(frames, head, date);
      frames.endHead();
      frames.reset(stream, 0);
      request.on("error", () => {});
      wire.push(Buffer.from(frames.bytes.subarray(0, frames.length)));
      frames.clear();
      const [response] = (await got) as [http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader];
      expect(response[":status"]).toBe(head.status);
      expect(response.date).toBe(date.toString());
      if (head.status !== 204 && head.status !== 304) expect(response["content-length"]).toBe(String(n));
      for (const field of fields.filter((line) => /^(X-Y|Vary|Content-Type)/.test(line))) {
        const [name = "", value] = field.split(": ");
        expect(response[name.toLowerCase()]).toBe(value ?? "");
      }
    }
    client.destroy();
  });

  it("needs one byte for a repeated field", () => {
    const encoder = new HpackEncoder();
    const frames = new FrameBuffer();
    const head = new ResponseHead();
    const text = Buffer.from(
      "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nServer: a\r\nDate: x\r\nContent-Length: 5\r\n\r\n",
    );
    const size = () => {
      head.parse(text, 0, text.length, false);
      frames.clear();
      encoder.response(frames, head, Buffer.from(""));
      return frames.length;
    };
    expect(size()).toBeGreaterThan(20);
    expect(size()).toBe(1 + 3 + 4);
    encoder.resize(0);
    expect(size()).toBeGreaterThan(20);
    expect(size()).toBeGreaterThan(20);
  });
});
