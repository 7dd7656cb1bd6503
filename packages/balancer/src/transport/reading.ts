/** Decides when a peer is read: only if there is no reason to pause it, and within its share of turns. */
import { TurnRest } from "@paceline/wire";
import type { BufferBudget, Reader } from "../exchange/buffer-budget.js";
import type { SmallReader, SmallReads } from "./small-reads.js";
import type { Connection } from "./transport.js";

/** The work per turn for all clients, in bytes of bodies. The first request of a read is not counted. */
const TURN_UNITS = 1 << 19;
/** Fixed costs, in the same unit. */
export const CHUNK_UNITS = 32;
export const REQUEST_UNITS = 8192;
/** How many requests of a connection start in one turn, before other connections get theirs. */
export const MAX_TURN_REQUESTS = 32;
/** How many waiting clients continue in one turn, or fewer if they use up the turn's share. */
const MAX_TURN_SHARERS = 8;

export interface Sharer {
  /** Called when the share is used up: the client is paused until `onTurn`. */
  onTurnOver(): void;
  /** Called when the client may continue and no longer waits. */
  onTurn(): void;
}

/**
 * Limits the work for bodies and pipelined requests to a share of each turn of the event loop. Clients determine the cost of a read: sixty
 * clients that send chunks of one byte could block all others for seconds.
 */
export class TurnShare {
  private left = TURN_UNITS;
  private isArmed = false;
  /** Clients with more input than one read, in the order of their turns. */
  private readonly served = new Set<Sharer>();
  private readonly waiting = new Set<Sharer>();

  constructor(private readonly rest: Pick<TurnRest, "take"> = new TurnRest()) {}

  private get isOver(): boolean {
    return this.left <= 0;
  }

  /** Counts work that was done. Returns false if the share of this turn is used up. */
  take(units: number): boolean {
    this.left -= units;
    if (!this.isArmed) this.arm();
    if (!this.isOver) return true;
    for (const sharer of this.served) this.wait(sharer);
    return false;
  }

  /** Called when more of a body follows. */
  join(sharer: Sharer): void {
    if (this.isOver || this.waiting.has(sharer)) return this.wait(sharer);
    this.served.delete(sharer);
    this.served.add(sharer);
  }

  wait(sharer: Sharer): void {
    this.served.delete(sharer);
    this.waiting.add(sharer);
    sharer.onTurnOver();
    if (!this.isArmed) this.arm();
  }

  leave(sharer: Sharer): void {
    this.served.delete(sharer);
    this.waiting.delete(sharer);
  }

  private arm(): void {
    this.isArmed = true;
    setImmediate(this.next);
  }

  private readonly next = (): void => {
    if (!this.isOver || !this.rest.take(this.goOn)) this.goOn();
  };

  private readonly goOn = (): void => {
    this.isArmed = false;
    this.left = TURN_UNITS;
    let mayGoOn = MAX_TURN_SHARERS;
    for (const sharer of this.waiting) {
      this.waiting.delete(sharer);
      sharer.onTurn();
      if (--mayGoOn === 0 || this.isOver) break;
    }
    if (this.waiting.size > 0 && !this.isArmed) this.arm();
  };
}

/** A complete body up to this size is not counted, in units of a turn's share. */
const FREE_TURN_UNITS = 16_384;

/** Reasons to pause a peer. UNREAD and TURN apply to clients and upstreams, DONE only to upstreams, all others only to clients. */
export const Pause = {
  /** It has sent too much ahead of its response. */
  AHEAD: 1,
  /** Its upstream cannot take more at the moment. */
  UPSTREAM: 2,
  /** It has not read its responses. */
  UNREAD: 4,
  /** It has used up its share of this turn of the event loop. */
  TURN: 8,
  /** It sends far ahead, and the budget has no room for another read. */
  ROOM: 16,
  /** The message that an instance is done with a request need not be read until its slot is needed. */
  DONE: 32,
} as const;

/** Reads one peer, a client or an upstream's connection, unless there is a reason to pause. */
export class FairReading<Peer extends Connection | undefined = Connection | undefined> implements Sharer {
  /** Bits of Pause. */
  protected pauses = 0;
  /** Whether the peer is limited to its share of turns, because it sends a body in many pieces, or many requests. */
  isSharing = false;
  /** Whether it was limited to its share before. */
  hasShared = false;
  /** Whether it is paused until its next turn. */
  private isWaiting = false;

  constructor(
    /** Undefined before the connection is established and after it is closed. */
    public connection: Peer,
    private readonly turnShare: TurnShare,
  ) {}

  get isPaused(): boolean {
    return this.pauses !== 0;
  }

  isPausedFor(reason: number): boolean {
    return (this.pauses & reason) !== 0;
  }

  pause(reason: number): void {
    if (this.pauses === 0) this.connection?.pause();
    this.pauses |= reason;
  }

  resume(reasons: number): void {
    if (this.pauses === 0) return;
    this.pauses &= ~reasons;
    if (this.pauses === 0) this.readAgain();
  }

  /** Called when no reason to pause is left. */
  protected readAgain(): void {
    this.connection?.resume();
  }

  /** Called when more of a body follows. */
  joinTurn(): void {
    this.isSharing = this.hasShared = true;
    this.turnShare.join(this);
  }

  waitForTurn(): void {
    this.isSharing = this.hasShared = true;
    this.turnShare.wait(this);
  }

  leaveTurn(): void {
    if (!this.isSharing) return;
    this.isSharing = this.isWaiting = false;
    this.turnShare.leave(this);
    this.resume(Pause.TURN);
  }

  /** @param isWhole whether the body is complete */
  countBody(units: number, isWhole: boolean): void {
    if (!isWhole) this.joinTurn();
    if (!isWhole || units >= FREE_TURN_UNITS) this.turnShare.take(units);
    if (isWhole) this.leaveTurn();
  }

  onTurnOver(): void {
    this.isWaiting = true;
    this.pause(Pause.TURN);
  }

  onTurn(): void {
    this.isSharing = this.isWaiting = false;
    this.goOn();
    // It may already be waiting for a turn again.
    if (!this.isWaiting) this.resume(Pause.TURN);
  }

  /** Called when the peer has a turn again because more of a body follows. */
  protected goOn(): void {
    this.joinTurn();
  }
}

/** Reads an upstream's responses, in small pieces while memory for unread responses is scarce. */
export class UpstreamReading extends FairReading implements SmallReader {
  private isSmall = false;
  private isResponding = false;
  silentSince = 0;
  askAt = 0;

  /** @param smallReads undefined: the runtime always reads it, because its responses are buffered */
  constructor(
    turnShare: TurnShare,
    private readonly smallReads: SmallReads | undefined,
  ) {
    super(undefined, turnShare);
  }

  /** Called when a request is sent. */
  beginResponse(): void {
    this.isResponding = true;
    if (this.smallReads?.isScarce === true) this.smallReads.begin(this);
  }

  /** Called after a read that was not the last one of the response. */
  noteRead(bytes: number): void {
    if (!this.isSmall) this.smallReads?.noteRead(this, bytes);
  }

  /** @param isKept whether the connection stays open, so that the runtime has to read it */
  endResponse(isKept: boolean): void {
    this.isResponding = false;
    this.smallReads?.leave(this);
    if (!this.isSmall) return;
    if (isKept) this.onUsual();
    this.isSmall = false;
  }

  protected override readAgain(): void {
    const { smallReads } = this;
    if (smallReads !== undefined && this.isResponding && (this.isSmall || smallReads.isScarce)) smallReads.begin(this);
    else super.readAgain();
  }

  onSmall(): void {
    this.isSmall = true;
    this.connection?.pause(true);
  }

  onUsual(): void {
    this.isSmall = false;
    if (!this.isPaused) this.connection?.resume();
  }

  readPiece(mostBytes: number): number {
    return this.connection?.readPiece?.(mostBytes) ?? 0;
  }
}

/** Reads a client, and detects that it disconnected while it was paused. */
export class ClientReading extends FairReading<Connection> implements Reader {
  /** Whether it was paused at the last check for a disconnect. */
  private wasPaused = false;
  private sendsAhead = false;

  constructor(
    connection: Connection,
    turnShare: TurnShare,
    private readonly budget: BufferBudget,
    private readonly owner: { onTurn(): void },
  ) {
    super(connection, turnShare);
  }

  /**
   * Called each second, because a paused client can disconnect unnoticed.
   * @param isOwed whether a request is in progress
   */
  hasPeerLeft(isOwed: boolean): boolean {
    const isUnseen = isOwed && this.isPaused;
    const hasLeft = isUnseen && this.wasPaused && this.connection.hasPeerLeft;
    this.wasPaused = isUnseen;
    return hasLeft;
  }

  /**
   * Called each second for a tunnel, whose client may send FIN and stay connected.
   * @param hasEnded whether it has sent FIN
   */
  lookIfReset(hasEnded: boolean): void {
    if (this.isPaused || hasEnded) this.connection.lookIfReset();
  }

  /** Marks a client that sends far ahead of its responses: it is read only while the budget has room for another read. */
  noteAhead(): void {
    this.sendsAhead = true;
  }

  protected override readAgain(): void {
    if (this.sendsAhead && !this.budget.mayRead(this)) this.pauses = Pause.ROOM;
    else super.readAgain();
  }

  protected override goOn(): void {
    this.owner.onTurn();
  }

  onRoom(): boolean {
    this.resume(Pause.ROOM);
    if (this.pauses === Pause.ROOM) return false;
    // The client is paused for another reason. It asks for room again after that.
    this.budget.stopWaiting(this);
    return true;
  }

  /** Drops all further input. */
  leave(): void {
    this.leaveTurn();
    if (!this.sendsAhead) return;
    this.sendsAhead = false;
    this.budget.stopWaiting(this);
    this.resume(Pause.ROOM);
  }
}
