/** A hundred slow uploads together with quick requests. */
import { once } from "node:events";
import net from "node:net";
import { verdict, wait } from "../support.mjs";
import { startStore } from "./store.mjs";

const CLIENTS = 100;
const BYTES_PER_SECOND = 50_000;
const TICK_MS = 100;
const LENGTH = 1 << 30;
const PER_SECOND = 100;

export async function slowPart({ runtime, hasPostgres, seconds }) {
  const store = await startStore({ runtime, hasPostgres });
  const s3 = store.client();
  try {
    await s3.request("PUT", "/slow");
    const body = Buffer.alloc(20_000, "s");
    await s3.request("PUT", "/slow/get", { body });
    await latencies(s3, 3);
    const alone = await latencies(s3, seconds);
    const uploads = Array.from({ length: CLIENTS }, (_, n) => slowUpload(store, s3, n));
    await wait(1000);
    const beside = await latencies(s3, seconds);
    const cut = uploads.filter(({ isCut }) => isCut()).length;
    for (const { end } of uploads) end();
    for (const kind of ["get", "put"]) {
      const [without, with_] = [alone[kind], beside[kind]];
      verdict(
        with_ <= 2 * without + 5,
        `${kind}: p99 ${without.toFixed(1)} ms alone, ${with_.toFixed(1)} ms beside ${CLIENTS} slow uploads`,
      );
    }
    verdict(alone.failed + beside.failed === 0, `${alone.failed + beside.failed} requests failed`);
    verdict(cut === 0, `${cut} slow uploads were cut`);
  } finally {
    s3.close();
    await store.stop();
  }
}

/** Gets and puts at a constant rate; returns the p99 of each, in milliseconds. */
async function latencies(s3, seconds) {
  const times = { get: [], put: [] };
  let failed = 0;
  const body = Buffer.alloc(20_000, "p");
  const pending = [];
  const startedAt = performance.now();
  for (let n = 0; n < seconds * PER_SECOND; n++) {
    const due = startedAt + (n * 1000) / PER_SECOND;
    if (due > performance.now()) await wait(due - performance.now());
    const kind = n % 4 === 0 ? "put" : "get";
    const sent = kind === "put" ? s3.request("PUT", `/slow/put-${n % 50}`, { body }) : s3.request("GET", "/slow/get");
    const done = sent.then(
      ({ status }) => {
        times[kind].push(performance.now() - due);
        if (status !== 200) failed++;
      },
      () => failed++,
    );
    pending.push(done);
  }
  await Promise.all(pending);
  const p99 = (all) => all.sort((a, b) => a - b)[Math.floor(all.length * 0.99)];
  return { get: p99(times.get), put: p99(times.put), failed };
}

function slowUpload({ port }, s3, number) {
  const target = s3.presign("PUT", `/slow/upload-${number}`, { expires: 3600 });
  const socket = net.connect({ host: "127.0.0.1", port: port });
  const head = [`PUT ${target} HTTP/1.1`, `Host: 127.0.0.1:${port}`, `Content-Length: ${LENGTH}`, "", ""];
  let isCut = false;
  let isOver = false;
  socket.on("error", () => {});
  socket.on("data", () => {});
  socket.on("close", () => {
    isCut = !isOver;
  });
  const piece = Buffer.alloc((BYTES_PER_SECOND * TICK_MS) / 1000, "u");
  let timer;
  void once(socket, "connect").then(() => {
    socket.write(head.join("\r\n"));
    timer = setInterval(() => socket.write(piece), TICK_MS);
  });
  return {
    isCut: () => isCut,
    end() {
      isOver = true;
      clearInterval(timer);
      socket.destroy();
    },
  };
}
