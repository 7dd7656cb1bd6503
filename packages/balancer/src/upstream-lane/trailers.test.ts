/** Trailers over a lane, on the side of the balancer. */
import { FrameType } from "@paceline/wire/lane/protocol";
import { expect, it } from "vitest";
import { frameBytes } from "../../../wire/test/support/lane-frames.js";
import { vector } from "../../../wire/test/support/lane-vectors.js";
import { Asked, LaneBench, turnEnd } from "../../test/support/lane-bench.js";

const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const CHUNKED = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
const LENGTH = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";
const HELLO = vector("HELLO of an instance").hex;
/** The HELLO of an instance that is older than TRAILERS. */
const OLDER = `${HELLO.slice(0, 24)}02${HELLO.slice(26)}`;
const SUM = Buffer.from("X-Sum: 1\r\n");

const frame = (type: number, id: number, payload: Uint8Array | string = "") =>
  frameBytes({ type, id, payload: Buffer.from(payload) });

/** A lane, and a request on it. */
class Taking extends Asked {
  takesTrailers = true;
  trailers = "";

  onTrailers(trailers: Uint8Array): void {
    this.trailers += Buffer.from(trailers).toString("latin1");
  }

  get id(): number {
    return (this.stream as unknown as { id: number }).id;
  }
}

async function ask(text: string, hello = HELLO) {
  const bench = new LaneBench();
  const connection = bench.transport.accept();
  const next = new Taking(bench.link, text);
  connection.owner.onData(Buffer.from(hello, "hex"));
  await turnEnd();
  connection.take();
  return { bench, connection, asked: next, give: (...all: Buffer[]) => connection.owner.onData(Buffer.concat(all)) };
}

const END_OF = (id: number) => frame(FrameType.END, id).toString("hex");

it.each([
  ["a chunked body", CHUNKED, HELLO, true],
  ["a body with a length", LENGTH, HELLO, false],
  ["a chunked body, to an older instance", CHUNKED, OLDER, false],
])("of a request are sent after %s", async (_, text, hello, pass) => {
  const { asked, connection } = await ask(text, hello);
  asked.stream.sendBody(Buffer.from("abc"), 0, 3);
  asked.stream.endBody(SUM);
  await turnEnd();
  const sent = connection.take().toString("hex");
  const trailers = pass ? frame(FrameType.TRAILERS, asked.id, SUM).toString("hex") : "";
  expect(sent).toBe(frame(FrameType.DATA, asked.id, "abc").toString("hex") + trailers + END_OF(asked.id));
});

it("of a request wait for the instance, with the end of the body", async () => {
  const { asked, connection, give } = await ask(CHUNKED);
  asked.stream.sendBody(Buffer.alloc(1_048_577), 0, 1_048_577);
  asked.stream.endBody(SUM);
  await turnEnd();
  expect(connection.take().includes(SUM)).toBe(false);
  give(frame(FrameType.WINDOW, asked.id, Buffer.from("00000100", "hex")));
  await turnEnd();
  const end = frame(FrameType.TRAILERS, asked.id, SUM).toString("hex") + END_OF(asked.id);
  expect(connection.take().toString("hex").endsWith(end)).toBe(true);
});

const head = (id: number, hex: string) => frame(FrameType.RESPONSE, id, Buffer.from(hex, "hex"));
const OPEN_HEAD = `c800${"00".repeat(13)}0d0a`;
const LENGTH_HEAD = "c800020000000000050000000000000d0a";

it.each([true, false])("of a response are forwarded if the client accepts them (%s)", async (takes) => {
  const { asked, bench, give } = await ask(GET);
  asked.takesTrailers = takes;
  const { id } = asked;
  give(head(id, OPEN_HEAD), frame(FrameType.DATA, id, "hello"), frame(FrameType.TRAILERS, id, SUM));
  give(frame(FrameType.END, id));
  expect(asked).toMatchObject({ body: "hello", isEnded: true, trailers: takes ? "X-Sum: 1\r\n" : "" });
  expect(bench.problems).toEqual([]);
});

it.each<[string, string, (id: number) => Buffer[]]>([
  ["twice", OPEN_HEAD, (id) => [frame(FrameType.TRAILERS, id, SUM), frame(FrameType.TRAILERS, id, SUM)]],
  ["of a body with a length", LENGTH_HEAD, (id) => [frame(FrameType.TRAILERS, id, SUM)]],
])("%s break the lane", async (_, start, frames) => {
  const { asked, bench, connection, give } = await ask(GET);
  give(head(asked.id, start), ...frames(asked.id));
  expect(bench.problems).toEqual([expect.stringContaining("trailers that its body does not allow")]);
  expect(connection.isClosed).toBe(true);
  expect(asked).toMatchObject({ loss: "broken", isEnded: false });
});

it("a body that continues after its trailers breaks the lane", async () => {
  const { asked, bench, give } = await ask(GET);
  const { id } = asked;
  give(head(id, OPEN_HEAD), frame(FrameType.TRAILERS, id, SUM), frame(FrameType.DATA, id, "more"));
  expect(bench.problems).toEqual([expect.stringContaining("a body that its head or its window does not allow")]);
});

it.each(["a\r\nb", "x: 1\r\nno field\r\n", "x: 1\r\n\r\n", "x: 1\nInjected: 1\r\n", "x: 1"])(
  "invalid lines fail only their own request: %j",
  async (lines) => {
    const { asked, bench, connection, give } = await ask(GET);
    give(head(asked.id, OPEN_HEAD), frame(FrameType.TRAILERS, asked.id, lines));
    expect(bench.problems).toEqual([expect.stringContaining("trailers that are not valid")]);
    expect(asked).toMatchObject({ loss: "broken", trailers: "" });
    expect(connection.isClosed).toBe(false);
  },
);

it("for a cancelled request are discarded", async () => {
  const { asked, bench, give } = await ask(GET);
  const { id } = asked;
  give(head(id, OPEN_HEAD));
  asked.stream.cancel();
  give(frame(FrameType.TRAILERS, id, SUM), frame(FrameType.END, id));
  expect(bench.problems).toEqual([]);
});
