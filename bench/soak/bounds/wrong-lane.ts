/** Takes over the lanes of its own instance, to send frames that no correct instance would send. */
import net from "node:net";
import { becomeIdleClass, leaveIdleClass } from "./idle-class.mjs";

interface Lane {
  /** On Bun the number of accepted bytes; Node accepts all. */
  write(bytes: Uint8Array): number | boolean;
  readonly writableLength?: number;
  pause(): void;
  resume(): void;
}

const lanes = new Set<Lane>();

/** Must run before the server listens. */
export function takeLanes(): void {
  if (process.versions.bun !== undefined) {
    const { listen } = Bun;
    Bun.listen = ((options: { socket: { open(socket: Lane): void } }) => {
      const { open } = options.socket;
      options.socket.open = (socket) => {
        lanes.add(socket);
        open(socket);
      };
      return listen(options as never);
    }) as never;
    return;
  }
  const { emit } = net.Server.prototype;
  net.Server.prototype.emit = function (event: string, ...args: never[]) {
    if (event === "connection") {
      const socket = args[0] as unknown as net.Socket;
      lanes.add(socket);
      socket.once("close", () => lanes.delete(socket));
    }
    return emit.call(this, event, ...args);
  } as never;
}

function frame(type: number, id: number, payload: Uint8Array): Buffer {
  const bytes = Buffer.alloc(8 + payload.length);
  bytes.writeUIntLE(payload.length, 0, 3);
  bytes[3] = type;
  bytes.writeUInt32LE(id, 4);
  bytes.set(payload, 8);
  return bytes;
}

const number = Buffer.from([1, 0, 0, 0]);
const repeat = (bytes: Buffer) => Buffer.concat(Array.from({ length: Math.ceil(65_536 / bytes.length) }, () => bytes));

/** Each is sent repeatedly. */
const WRONGS: Record<string, Buffer> = {
  pongs: repeat(frame(15, 0, number)),
  busy: repeat(frame(12, 0, number)),
  goaways: repeat(frame(13, 0, Buffer.alloc(0))),
  closes: repeat(frame(16, 0, Buffer.from("c".repeat(200)))),
  strange: Buffer.concat([
    frame(3, 60_000, Buffer.alloc(200)),
    frame(4, 60_000, Buffer.alloc(60_000)),
    frame(8, 60_000, Buffer.alloc(1)),
  ]),
  windows: repeat(frame(10, 0, Buffer.from([255, 255, 255, 255]))),
  bodies: frame(4, 0, Buffer.alloc(65_536)),
};

/** Writes these bytes again after they were accepted, so that frames stay complete. */
function repeating(lane: Lane, bytes: Uint8Array): () => void {
  let rest = bytes;
  return () => {
    if ((lane.writableLength ?? 0) > 0) return;
    const taken = lane.write(rest);
    if (typeof taken === "number") rest = rest.subarray(Math.max(0, taken));
    if (rest.length === 0 || typeof taken === "boolean") rest = bytes;
  };
}

/** For `seconds`, every lane sends this as fast as possible and reads nothing. */
export function wrong(what: string, seconds: number): void {
  // The instance is a peer during that time.
  becomeIdleClass();
  setTimeout(leaveIdleClass, seconds * 1000).unref();
  const begun = frame(3, 0, Buffer.alloc(2 << 20)).subarray(0, -1);
  for (const lane of lanes) {
    if (what === "begun") lane.write(begun);
    const bytes = WRONGS[what];
    if (bytes === undefined && what !== "deaf") continue;
    lane.pause();
    const timer = bytes === undefined ? undefined : setInterval(repeating(lane, bytes), 2);
    setTimeout(() => {
      clearInterval(timer);
      lane.resume();
    }, seconds * 1000).unref();
  }
}
