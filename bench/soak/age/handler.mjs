/** The soak's app as a node:http server: exported for pools of Node handlers, and listening as a command or an upstream. */
import { createServer } from "node:http";

const PIECE = Buffer.alloc(65_536, "x");
const TAIL = Buffer.alloc(3_000_000, "b");

/** Without Node's limit of 300 s per request. */
export const server = createServer({ requestTimeout: 0 }, (request, response) => {
  const { pathname, searchParams } = new URL(request.url ?? "/", "http://a");
  if (pathname.endsWith("/events")) {
    const tell = () => response.write("data: tick\n\n");
    tell();
    const timer = setInterval(tell, Number(searchParams.get("everyMs")));
    response.on("close", () => clearInterval(timer));
  } else if (pathname.endsWith("/body")) {
    let left = Number(searchParams.get("bytes"));
    response.setHeader("content-length", left);
    const pump = () => {
      while (left > 0 && !response.destroyed) {
        const size = Math.min(left, PIECE.length);
        left -= size;
        if (!response.write(PIECE.subarray(0, size))) return void response.once("drain", pump);
      }
      response.end();
    };
    pump();
  } else if (pathname.endsWith("/upload")) {
    let bytes = 0;
    request.on("data", (piece) => {
      bytes += piece.length;
    });
    request.on("end", () => response.end(`${bytes} bytes`));
  } else response.end("hello");
});

server.on("upgrade", (request, socket, head) => {
  const { pathname, searchParams } = new URL(request.url ?? "/", "http://a");
  socket.on("error", () => {});
  socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: age\r\nConnection: Upgrade\r\n\r\n");
  if (pathname.endsWith("/echo")) {
    socket.write(head);
    socket.on("data", (piece) => socket.write(piece));
    socket.on("end", () => socket.end());
    return;
  }
  // After its FIN a client still receives for a while, then much at once.
  socket.resume();
  socket.on("end", () => {
    const timer = setInterval(() => socket.write("tick\n"), Number(searchParams.get("everyMs")));
    const last = setTimeout(
      () => {
        clearInterval(timer);
        socket.end(TAIL);
      },
      Number(searchParams.get("forMs")),
    );
    socket.on("close", () => {
      clearInterval(timer);
      clearTimeout(last);
    });
  });
});

export default server;
