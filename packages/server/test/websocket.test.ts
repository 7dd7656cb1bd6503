/** acceptWebSocket over the lane, with the client of `ws` and with raw bytes, on both runtimes. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { ask, eventually, type RuntimeName, Wire } from "./harness.js";
import { type OverLane, startOverLane } from "./lane-harness.js";

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const handshake = (path: string, fields = `Sec-WebSocket-Key: ${KEY}\r\nSec-WebSocket-Version: 13\r\n`) =>
  `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n${fields}\r\n`;

for (const runtime of ["bun", "node"] satisfies RuntimeName[]) {
  describe(`WebSockets on ${runtime}`, () => {
    let lane: OverLane;
    beforeAll(async () => {
      lane = await startOverLane(runtime, "websocket.mjs");
    });
    afterAll(() => lane?.close());
    const { closed, connect } = client(() => lane);

    it("responds to the handshake of RFC 6455, section 1.3, as that section shows", async () => {
      const wire = new Wire(lane.target).send(handshake("/echo"));
      const head = await wire.gets(/\r\n\r\n/);
      expect(head).toMatch(/^HTTP\/1\.1 101 /);
      expect(head.toLowerCase()).toContain("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=");
      expect(head).toContain("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
      wire.destroy();
    });

    it.each([
      ["no key", "Sec-WebSocket-Version: 13\r\n"],
      ["a key that is none", "Sec-WebSocket-Key: abc\r\nSec-WebSocket-Version: 13\r\n"],
      ["another version", `Sec-WebSocket-Key: ${KEY}\r\nSec-WebSocket-Version: 8\r\n`],
    ])("accepts no handshake with %s", async (_, fields) => {
      const wire = new Wire(lane.target).send(handshake("/echo", fields));
      expect(await wire.gets(/\r\n\r\n/)).toMatch(/^HTTP\/1\.1 426 /);
      wire.destroy();
    });

    it("is no WebSocket for an ordinary request", async () => {
      expect((await ask(lane.target, "/echo")).status).toBe(426);
    });

    it("echoes text and bytes, replies to pings, and confirms a close", async () => {
      const socket = await connect("/echo");
      const heard: unknown[] = [];
      socket.on("message", (data, isBinary) => heard.push(isBinary ? data : String(data)));
      let pongs = 0;
      socket.on("pong", () => pongs++);
      socket.send("wide \u20ac");
      socket.ping("p");
      socket.send(Buffer.from([0, 1, 255]));
      socket.send("");
      await eventually("three messages and a pong", () => (heard.length === 3 && pongs === 1) || undefined);
      expect(heard).toEqual(["wide \u20ac", Buffer.from([0, 1, 255]), ""]);
      socket.close(3001, "bye");
      expect(await closed(socket)).toMatchObject({ code: 3001 });
      await lane.program.line(/^# closed 3001 false/);
    });

    it("replies to the last of many pings that arrived together, before what follows them", async () => {
      const socket = await connect("/echo");
      const heard: string[] = [];
      socket.on("pong", (payload) => heard.push(`pong ${payload}`));
      const said = new Promise((resolve) => socket.on("message", resolve));
      const wire = (socket as unknown as { _socket: { cork(): void; uncork(): void } })._socket;
      wire.cork();
      for (let i = 0; i < 1000; i++) socket.ping(`${i}`);
      socket.send("after");
      wire.uncork();
      await said;
      // One per turn of the event loop.
      expect(heard.length).toBeLessThan(100);
      expect(heard.at(-1)).toBe("pong 999");
      socket.terminate();
    });

    it("names the subprotocol that the app chose", async () => {
      const socket = await connect("/protocol", ["chat", "other"]);
      expect(socket.protocol).toBe("chat");
      socket.terminate();
    });

    it("sends messages in order even without waiting, and then closes", async () => {
      const socket = new WebSocket(`ws://127.0.0.1:${lane.target.port}/burst`);
      const heard: string[] = [];
      socket.on("message", (data) => heard.push(String(data)));
      const code = await new Promise((resolve) => socket.on("close", resolve));
      expect([code, heard]).toEqual([1000, Array.from({ length: 300 }, (_, i) => `${i}`)]);
      await lane.program.line(/^# burst sent true/);
    });

    it("closes by itself with a code and a reason", async () => {
      expect(await closed(await connect("/close"))).toEqual({ code: 4001, reason: "enough" });
    });

    it("closes with 1000 when the app reads no more", async () => {
      const socket = await connect("/echo");
      socket.send("break");
      expect(await closed(socket)).toMatchObject({ code: 1000 });
    });

    it("closes with 1009 when a message is too long", async () => {
      const socket = await connect("/echo");
      socket.send("a".repeat(1001));
      expect(await closed(socket)).toMatchObject({ code: 1009 });
    });

    it("closes with 1002 when a frame is not masked", async () => {
      const wire = new Wire(lane.target).send(handshake("/echo"));
      await wire.gets(/\r\n\r\n/);
      wire.send("\x81\x02hi");
      // A close frame, with 1002 as its first two bytes.
      expect(await wire.closed()).toContain("\x88\x17\x03\xeaa frame is not masked");
    });

    it("ends the iteration when the client is lost", async () => {
      const before = lane.program.output.filter((line) => line === "# closed 1006 false").length;
      (await connect("/echo")).terminate();
      await eventually("the loss to be seen", () => {
        const now = lane.program.output.filter((line) => line === "# closed 1006 false").length;
        return now > before || undefined;
      });
    });

    it("cuts off a client that does not read what is sent", async () => {
      const wire = new Wire(lane.target);
      wire.send(handshake("/flood"));
      await wire.gets(/\r\n\r\n/);
      wire.pause();
      await lane.program.line(/^# flood over/);
      wire.destroy();
      // The others continue.
      const socket = await connect("/echo");
      socket.send("there?");
      await new Promise((resolve) => socket.once("message", resolve));
      socket.terminate();
    });
  });
}

function client(lane: () => OverLane) {
  const connect = async (path: string, protocols: string[] = []): Promise<WebSocket> => {
    const socket = new WebSocket(`ws://127.0.0.1:${lane().target.port}${path}`, protocols);
    const ends: { code: number; reason: string }[] = [];
    socket.on("error", () => undefined);
    socket.on("close", (code, reason) => ends.push({ code, reason: String(reason) }));
    Object.assign(socket, { ends });
    await eventually("the WebSocket to open", () => socket.readyState !== WebSocket.CONNECTING || undefined);
    return socket;
  };
  const closed = (socket: WebSocket) =>
    eventually(
      "the WebSocket to close",
      () => (socket as WebSocket & { ends: { code: number; reason: string }[] }).ends[0],
    );
  return { connect, closed };
}
