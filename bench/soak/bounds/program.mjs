/** A program that breaks HTTP/1.1; its path selects how. */
import net from "node:net";
import { becomeIdleClass } from "./idle-class.mjs";

const [socket] = process.argv.slice(2);
const CHUNK = `1\r\nx\r\n`.repeat(10_000);
const FRAMES = Buffer.alloc(60_000, Buffer.from([0x82, 1, 0x78]));
const LINK = `HTTP/1.1 103 Early Hints\r\nLink: <${"l".repeat(8000)}>\r\n\r\n`;

/** For each path, the bytes to repeat after the first ones. */
const WRONGS = {
  interims: ["", LINK],
  large: [`HTTP/1.1 200 OK\r\nContent-Length: ${8000 * 64_000}\r\n\r\n`, "l".repeat(64_000)],
  chunks: ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNK],
  close: ["HTTP/1.0 200 OK\r\n\r\n", CHUNK],
  trailers: ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "t: 1\r\n".repeat(1000)],
  extensions: ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", `1;${"e".repeat(250)}\r\nx\r\n`.repeat(200)],
  head: ["HTTP/1.1 200 OK\r\n", `${"a: b\r\n".repeat(1000)}`],
  socket: ["HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", FRAMES],
  after: ["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", CHUNK],
};

// Peers run in the idle class, and this program is one.
becomeIdleClass();
net
  .createServer((client) => {
    client.on("error", () => {});
    client.on("data", (bytes) => {
      const what = /\/(?:program|few)\/(\w+)/.exec(bytes.toString("latin1"))?.[1];
      if (what === "unread") return void client.pause();
      const wrong = WRONGS[what];
      if (wrong === undefined) return void client.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      client.removeAllListeners("data");
      client.write(wrong[0]);
      const pump = () => {
        while (!client.destroyed && client.write(wrong[1]));
      };
      client.on("drain", pump);
      pump();
    });
  })
  .listen(socket);
