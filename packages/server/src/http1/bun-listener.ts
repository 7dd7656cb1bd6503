/**
 * Replaces a listening socket that Bun has opened by an inherited one, because Bun.serve and node:http on Bun ignore `fd` (1.4.5). Bun
 * knows the socket that it polls only by its descriptor, so the other socket gets this descriptor and its entry in Bun's poller.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { listeningSockets } from "@paceline/wire/proc";
import { ServerError } from "../shared/errors.js";

const LOOPBACK = "127.0.0.1";
const BACKLOG = 4096;
const EPOLL_CTL_ADD = 1;
const O_CLOEXEC = 0o2000000;
const O_NONBLOCK = 0o4000;
const F_GETFL = 3;
const F_SETFL = 4;
const AF_INET = 2;
const SOCK_STREAM = 1;

/** struct epoll_event is packed on x86. */
const DATA_AT = process.arch === "x64" ? 4 : 8;

/**
 * Returns a function that closes this process's copy of the inherited socket; connections stay.
 * @param port of 127.0.0.1, on which Bun listens in this process
 * @throws ServerError `cannot-listen`
 */
export function takeListener(
  port: number,
  { fd, host, port: wanted }: { fd: number; host: string; port: number },
): () => void {
  const failed = (what: string) =>
    new ServerError("cannot-listen", `cannot listen on the inherited socket of ${host}:${wanted}: ${what}`);
  if (process.platform !== "linux") throw failed("Bun can only do this on Linux");
  const own = descriptorOf(port);
  const polled = own === undefined ? undefined : pollEntryOf(own);
  if (own === undefined || polled === undefined) throw failed("the socket of Bun was not found");
  const libc = loadLibc();
  const flags = libc.fcntl(fd, F_GETFL, 0);
  if (flags < 0 || libc.fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) throw failed("it is no descriptor");
  if (libc.listen(fd, BACKLOG) < 0) throw failed("listen(2) failed");
  // Closes Bun's socket, which also removes it from the poller.
  if (libc.dup3(fd, own, O_CLOEXEC) < 0) throw failed("dup3(2) failed");
  const event = Buffer.alloc(16);
  event.writeUInt32LE(polled.events);
  event.writeBigUInt64LE(polled.data, DATA_AT);
  if (libc.epoll_ctl(polled.poller, EPOLL_CTL_ADD, own, libc.ptr(event)) < 0) throw failed("epoll_ctl(2) failed");
  libc.close(fd);
  return () => {
    // When its server stops, Bun closes whatever has this number.
    const spare = libc.socket(AF_INET, SOCK_STREAM | O_CLOEXEC, 0);
    if (spare < 0) return;
    libc.dup3(spare, own, O_CLOEXEC);
    libc.close(spare);
  };
}

/** Returns this process's descriptor of the socket that listens on a port of 127.0.0.1. */
function descriptorOf(port: number): number | undefined {
  const inodes = new Set<string>();
  for (const socket of listeningSockets())
    if (socket.port === port && socket.host === LOOPBACK) inodes.add(`socket:[${socket.inode}]`);
  return descriptors().find((fd) => inodes.has(targetOf(fd)));
}

interface PollEntry {
  poller: number;
  events: number;
  data: bigint;
}

/** Returns the entry of a descriptor in a poller of this process. */
function pollEntryOf(fd: number): PollEntry | undefined {
  const line = new RegExp(`^tfd: +${fd} events: +([\\da-f]+) +data: +([\\da-f]+)`, "m");
  for (const poller of descriptors()) {
    if (targetOf(poller) !== "anon_inode:[eventpoll]") continue;
    const [, events, data] = line.exec(readFileSync(`/proc/self/fdinfo/${poller}`, "latin1")) ?? [];
    if (events !== undefined) return { poller, events: Number.parseInt(events, 16), data: BigInt(`0x${data}`) };
  }
  return undefined;
}

function descriptors(): number[] {
  return readdirSync("/proc/self/fd").map(Number);
}

function targetOf(fd: number): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    // The descriptor of the list itself.
    return "";
  }
}

function loadLibc() {
  const { dlopen, ptr } = process.getBuiltinModule("bun:ffi") as unknown as typeof import("bun:ffi");
  const { symbols } = dlopen("libc.so.6", {
    fcntl: { args: ["int", "int", "int"], returns: "int" },
    listen: { args: ["int", "int"], returns: "int" },
    dup3: { args: ["int", "int", "int"], returns: "int" },
    epoll_ctl: { args: ["int", "int", "int", "ptr"], returns: "int" },
    socket: { args: ["int", "int", "int"], returns: "int" },
    close: { args: ["int"], returns: "int" },
  });
  return { ...symbols, ptr };
}
