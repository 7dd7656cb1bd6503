/**
 * Gives the listening sockets to systemd's file descriptor store (sd_pid_notify_with_fds(3)) on Bun: the next main process of the unit gets
 * them back.
 */
import { dlopen, FFIType, ptr } from "bun:ffi";
import { closeSync } from "node:fs";
import { STORED } from "./inherited-sockets.js";

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_NOSIGNAL = 0x4000;
/** struct sockaddr_un. */
const FAMILY_BYTES = 2;
/** struct msghdr and struct cmsghdr of 64-bit Linux. */
const MSGHDR_BYTES = 56;
const CMSGHDR_BYTES = 16;

/**
 * @param notifySocket a path, or `@` and an abstract name
 * @returns whether the sockets were sent
 */
export function storeSockets(notifySocket: string, fds: readonly number[]): boolean {
  const { i32, u64, ptr: pointer } = FFIType;
  const { symbols: libc } = dlopen("libc.so.6", {
    socket: { args: [i32, i32, i32], returns: i32 },
    sendmsg: { args: [i32, pointer, i32], returns: u64 },
  });
  const fd = libc.socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
  if (fd < 0) return false;
  try {
    const name = Buffer.concat([Buffer.alloc(FAMILY_BYTES), Buffer.from(notifySocket.replace(/^@/, "\0"))]);
    name.writeUInt16LE(AF_UNIX);
    // Without FDPOLL=0 systemd drops a socket on which no balancer listens yet.
    const text = Buffer.from(`FDSTORE=1\nFDNAME=${STORED}\nFDPOLL=0`);
    const data = CMSGHDR_BYTES + 4 * fds.length;
    const control = Buffer.alloc(Math.ceil(data / 8) * 8);
    control.writeBigUInt64LE(BigInt(data));
    control.writeInt32LE(SOL_SOCKET, 8);
    control.writeInt32LE(SCM_RIGHTS, 12);
    for (const [at, each] of fds.entries()) control.writeInt32LE(each, CMSGHDR_BYTES + 4 * at);
    const io = Buffer.alloc(16);
    io.writeBigUInt64LE(BigInt(ptr(text)));
    io.writeBigUInt64LE(BigInt(text.length), 8);
    const message = Buffer.alloc(MSGHDR_BYTES);
    message.writeBigUInt64LE(BigInt(ptr(name)));
    message.writeUInt32LE(name.length, 8);
    message.writeBigUInt64LE(BigInt(ptr(io)), 16);
    message.writeBigUInt64LE(1n, 24);
    message.writeBigUInt64LE(BigInt(ptr(control)), 32);
    message.writeBigUInt64LE(BigInt(control.length), 40);
    return BigInt(libc.sendmsg(fd, ptr(message), MSG_NOSIGNAL)) === BigInt(text.length);
  } finally {
    closeSync(fd);
  }
}
