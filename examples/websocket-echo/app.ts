// A WebSocket that echoes messages, and a page to try it.
import type { RequestInfo } from "paceline/server";
import { acceptWebSocket, type ServerWebSocket } from "paceline/websocket";

const PAGE = `<!doctype html><title>Echo</title><input autofocus placeholder="say something"><pre></pre><script>
const [input, output] = [document.querySelector("input"), document.querySelector("pre")];
const socket = new WebSocket(location.origin.replace("http", "ws") + "/echo");
socket.onmessage = ({ data }) => (output.textContent += data + "\\n");
input.onchange = () => { socket.send(input.value); input.value = ""; };
</script>`;

/** Reads the next message only when the client has received the last one, so a slow client costs no memory. */
async function echo(socket: ServerWebSocket): Promise<void> {
  for await (const message of socket) await socket.send(message);
}

export default {
  fetch(request: Request, info: RequestInfo): Response {
    const { pathname } = new URL(request.url);
    if (pathname === "/") return new Response(PAGE, { headers: { "content-type": "text/html; charset=utf-8" } });
    if (pathname !== "/echo") return new Response("Not Found\n", { status: 404 });
    const socket = acceptWebSocket(request, info);
    if (socket === undefined) return new Response("This is a WebSocket\n", { status: 426 });
    void echo(socket);
    return socket.response;
  },
};
