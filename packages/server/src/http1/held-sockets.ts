/**
 * Pauses node:http sockets as long as there is a reason: bodies in many small chunks, or pipelined requests. Reads such sockets in slices.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { giveBack } from "@paceline/wire";

interface Hold {
  reasons: number;
  /** The state that node:http has set. */
  isRead: boolean;
}

const holds = new WeakMap<Socket, Hold>();

function holdSocket(socket: Socket): void {
  const known = holds.get(socket);
  if (known !== undefined) {
    known.reasons++;
    return;
  }
  const hold = { reasons: 1, isRead: !socket.isPaused() };
  holds.set(socket, hold);
  socket.pause();
  stopReads(socket);
  socket.pause = () => {
    hold.isRead = false;
    return socket;
  };
  socket.resume = () => {
    hold.isRead = true;
    return socket;
  };
}

function releaseSocket(socket: Socket): void {
  const hold = holds.get(socket);
  if (hold === undefined || --hold.reasons > 0) return;
  holds.delete(socket);
  const own = socket as Partial<Socket>;
  delete own.pause;
  delete own.resume;
  startReads(socket);
  if (hold.isRead) socket.resume();
}

/**
 * The maximum number of small pieces per turn, for all bodies together. After that many, the bodies with small pieces pause until the next
 * turn. node:http spends over a microsecond per chunk, and one read may have ten thousand: forty clients would block all others for a
 * second.
 */
const MAX_TURN_PIECES = 1024;

/** How long new connections are read in slices after a turn that was used up, in milliseconds. Only an attack makes that necessary. */
const SLICES_MS = 60_000;

let slicesUntil = 0;

let left = MAX_TURN_PIECES;
let isArmed = false;
const reading = new Set<Socket>();
/** All sockets that are not read for the rest of this turn. */
let held: Socket[] | undefined;
/**
 * The sockets that have sent small pieces since the share was last used up, each with their number. Consecutive pieces of `lastSender` are
 * not included.
 */
const senders = new Map<Socket, number>();
let lastSender: Socket | undefined;
let inRow = 0;
/** The held sockets, which are read one at a time, in every second turn. */
const queued = new Set<Socket>();
/** The maximum number of held sockets. A further socket that used up half a turn alone is closed, because clients decide how many there are. */
const MAX_QUEUED = 64;
/** The held socket that was read last. */
let current: Socket | undefined;

/** Watches a connection on Node, where many idle ones may start such a body in one turn. Bun announces a body before its pieces. */
export function watchConnection(socket: Socket): void {
  if (performance.now() < slicesUntil) readInSlices(socket, false);
  beginPieces(socket);
  socket.once("close", () => reading.delete(socket));
}

/** Called when the connection has become a tunnel. */
export function leaveConnection(socket: Socket): void {
  reading.delete(socket);
}

/** Called when a chunked body starts on this socket. */
export function beginPieces(socket: Socket): void {
  if (reading.has(socket)) return;
  reading.add(socket);
  if (held === undefined) return;
  held.push(socket);
  holdSocket(socket);
}

export function endPieces(socket: Socket): void {
  if (process.versions.bun !== undefined) reading.delete(socket);
}

/** Counts a small piece. */
export function countPiece(socket: Socket): void {
  if (socket !== lastSender) {
    countRow();
    lastSender = socket;
  }
  inRow++;
  if (--left > 0 || held !== undefined) return;
  held = [...reading].filter((each) => !queued.has(each));
  for (const each of held) holdSocket(each);
  arm();
}

function countRow(): void {
  if (lastSender !== undefined) senders.set(lastSender, (senders.get(lastSender) ?? 0) + inRow);
  inRow = 0;
}

function arm(): void {
  if (isArmed) return;
  isArmed = true;
  setImmediate(goOn);
}

function goOn(): void {
  isArmed = false;
  left = MAX_TURN_PIECES;
  if (held === undefined) releaseNext();
  else releaseOthers(held);
  if (queued.size > 0) arm();
}

/** After a turn that was used up, the next turn belongs to the sockets that did not use it up. */
function releaseOthers(sockets: readonly Socket[]): void {
  held = undefined;
  if (process.versions.bun === undefined) {
    slicesUntil = performance.now() + SLICES_MS;
    for (const socket of reading) readInSlices(socket, holds.has(socket));
  }
  countRow();
  for (const socket of sockets) {
    const pieces = senders.get(socket) ?? 0;
    if (queued.size >= MAX_QUEUED && pieces > MAX_TURN_PIECES / 2) socket.destroy();
    else if (pieces > 0 && queued.size < MAX_QUEUED) queued.add(socket);
    else releaseSocket(socket);
  }
  senders.clear();
  lastSender = undefined;
}

function releaseNext(): void {
  for (const socket of queued) {
    // The socket that was read last goes first, until all of its last read is parsed.
    current = current !== undefined && queued.has(current) && hasRest(current) ? current : socket;
    queued.delete(current);
    return releaseSocket(current);
  }
  current = undefined;
}

/** How many pipelined requests of all connections start in a turn. node:http starts the next one as soon as a response is sent. */
const MAX_TURN_REQUESTS = 64;

let startedInTurn = 0;
const due: (() => void)[] = [];

function startInShare(start: () => void): void {
  if (startedInTurn >= MAX_TURN_REQUESTS) return void due.push(start);
  if (startedInTurn++ === 0) setImmediate(nextRequests);
  start();
}

function nextRequests(): void {
  startedInTurn = 0;
  for (const start of due.splice(0, MAX_TURN_REQUESTS)) startInShare(start);
}

/** The next pipelined request waits while more than this is queued for the client, in bytes. */
const MAX_UNREAD_BYTES = 65_536;

type Begin = (request: IncomingMessage, response: ServerResponse) => void;

/**
 * Wraps the request callback. node:http parses everything of one read and would start all its requests at once, even thousands, regardless
 * of the bytes that are queued for the client.
 */
export function oneAfterTheOther(begin: Begin): Begin {
  /** The number of waiting requests per connection. */
  const waiting = new WeakMap<Socket, number>();

  function beginInTurn(request: IncomingMessage, response: ServerResponse, socket: Socket): void {
    const left = (waiting.get(socket) ?? 1) - 1;
    waiting.set(socket, left);
    if (left === 0) releaseSocket(socket);
    if (!response.destroyed) begin(request, response);
  }

  return (request, response) => {
    // The response has no socket while another one uses it.
    if (response.socket !== null) return begin(request, response);
    const { socket } = request;
    const before = waiting.get(socket) ?? 0;
    waiting.set(socket, before + 1);
    if (before === 0) holdSocket(socket);
    response.once("socket", () => {
      const start = () => startInShare(() => beginInTurn(request, response, socket));
      if (socket.writableLength <= MAX_UNREAD_BYTES) start();
      else socket.once("drain", start);
    });
  };
}

/** Larger than the pieces of bodies that are joined. */
const SLICE_BYTES = 8192;
/** The maximum number of connections whose last read is not parsed completely, each with up to 64 KB. */
const MAX_RESTS = 128;

const sliced = new WeakSet<Socket>();
const rests = new Map<Socket, Buffer>();

type DataListener = (bytes: Buffer) => void;

/** The internals of node:net sockets that its types omit. */
interface Internals {
  readonly _handle?: { reading: boolean; readStop(): void } | null;
}

/**
 * Parses the input of a connection in slices, so that its owner can pause it between two of them. node:http itself reads and parses 64 KB
 * in one call, which takes 14 ms for chunks of one byte. Slices cost two microseconds a request.
 * @param isHeld whether `stopReads` already applies to the socket
 */
function readInSlices(socket: Socket, isHeld: boolean): void {
  const [parse] = socket.listeners("data") as DataListener[];
  if (parse === undefined || sliced.has(socket)) return;
  sliced.add(socket);
  const parseSlice = (bytes: Buffer): void => {
    rests.delete(socket);
    const isSlice = bytes.length > SLICE_BYTES && rests.size < MAX_RESTS;
    parse.call(socket, isSlice ? bytes.subarray(0, SLICE_BYTES) : bytes);
    // The connection has become a tunnel, which gets the rest.
    const isTunnel = !socket.listeners("data").includes(parse);
    const rest = bytes.subarray(SLICE_BYTES);
    if (isSlice && (isTunnel || !socket.destroyed)) {
      if (socket.isPaused() && !isTunnel) rests.set(socket, rest);
      // Its reader is called again at once, or after a pause.
      socket.unshift(rest);
    } else if (!isTunnel) giveBack(bytes);
  };
  socket.once("close", () => {
    const rest = rests.get(socket);
    if (rest !== undefined) giveBack(rest);
    rests.delete(socket);
  });
  socket.removeListener("data", parse);
  // With another listener on the socket, node:http leaves reading to the socket. Through `listener`, it can remove this one like its own when the
  // connection becomes a tunnel.
  socket.on("data", Object.assign(parseSlice, { listener: parse }));
  if (isHeld) stopReads(socket);
  else socket._read(0);
}

/** Returns whether bytes of its last read are left. */
function hasRest(socket: Socket): boolean {
  return rests.has(socket);
}

/** Keeps a paused socket from reading ahead. */
function stopReads(socket: Socket): void {
  const { _handle: handle } = socket as unknown as Internals;
  if (!sliced.has(socket) || !handle) return;
  handle.reading = false;
  handle.readStop();
  // `startReads` starts the reads that are due.
  socket._read = () => {};
}

function startReads(socket: Socket): void {
  if (!sliced.has(socket)) return;
  delete (socket as Partial<Socket>)._read;
  socket._read(0);
}
