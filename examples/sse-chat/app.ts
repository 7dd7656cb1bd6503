// A chat room over server-sent events: GET /events listens, POST /say speaks, and the page does both.
import type { RequestInfo } from "paceline/server";

type Listener = ReadableStreamDefaultController<Uint8Array>;

/** The listeners. All are in this process, which is why the fleet has one instance. */
const listeners = new Set<Listener>();
const MAX_WAITING_MESSAGES = 100;
const MAX_MESSAGE_BYTES = 1000;
const encoder = new TextEncoder();

function say(text: string): void {
  const event = encoder.encode(`data: ${JSON.stringify(text)}\n\n`);
  for (const listener of listeners) {
    if ((listener.desiredSize ?? 0) > 0) listener.enqueue(event);
    else leave(listener); // It has not read for so long that it is disconnected; its browser reconnects.
  }
}

function leave(listener: Listener): void {
  if (listeners.delete(listener)) listener.close();
}

function listen(signal: AbortSignal): Response {
  const events = new ReadableStream<Uint8Array>(
    {
      start(listener) {
        listeners.add(listener);
        signal.addEventListener("abort", () => listeners.delete(listener));
        listener.enqueue(encoder.encode(": welcome\n\n"));
      },
    },
    { highWaterMark: MAX_WAITING_MESSAGES },
  );
  return new Response(events, { headers: { "content-type": "text/event-stream", "cache-control": "no-cache" } });
}

const PAGE = `<!doctype html><title>Chat</title><input autofocus placeholder="say something"><pre></pre><script>
const [input, output] = [document.querySelector("input"), document.querySelector("pre")];
new EventSource("/events").onmessage = ({ data }) => (output.textContent += JSON.parse(data) + "\\n");
input.onchange = () => { fetch("/say", { method: "POST", body: input.value }); input.value = ""; };
</script>`;

export default {
  async fetch(request: Request, info: RequestInfo): Promise<Response> {
    const { pathname } = new URL(request.url);
    switch (`${request.method} ${pathname}`) {
      case "GET /":
        return new Response(PAGE, { headers: { "content-type": "text/html; charset=utf-8" } });
      case "GET /events":
        return listen(info.signal);
      case "POST /say": {
        const text = await request.text();
        if (text.length > MAX_MESSAGE_BYTES) return new Response("That is too long\n", { status: 413 });
        say(text);
        return new Response(null, { status: 204 });
      }
      default:
        return new Response("Not Found\n", { status: 404 });
    }
  },
};
