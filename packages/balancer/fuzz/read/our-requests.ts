/** Reads a stream of requests with the balancer's own parts, combined as in its client connection. */
import { Input } from "../../src/downstream/input.js";
import { BodyReader } from "../../src/http1/body-framing.js";
import type { FieldTable } from "../../src/http1/field-table.js";
import { HEAD_INCOMPLETE, HEAD_REFUSED, RequestHead } from "../../src/http1/request-head.js";
import type { Field, Reading, SeenMessage } from "../message.js";
import { FUZZ_LIMITS } from "./limits.js";

/** Reads the pieces in order. */
export function readOurRequests(pieces: readonly Buffer[]): Reading {
  const reader = new RequestReader();
  for (const piece of pieces) reader.push(piece);
  return reader.reading;
}

class RequestReader {
  readonly reading: Reading = { messages: [], end: "open", used: 0, why: "" };
  private readonly input = new Input();
  private readonly head = new RequestHead(FUZZ_LIMITS);
  private readonly body = new BodyReader();
  private current: SeenMessage | undefined;

  push(piece: Buffer): void {
    if (this.reading.end !== "open") return;
    this.input.push(Buffer.from(piece));
    while (this.reading.end === "open" && this.input.length > 0) {
      if (!(this.current === undefined ? this.readHead() : this.readBody(this.current))) return;
    }
  }

  /** Returns true to continue. */
  private readHead(): boolean {
    const { input, head, reading } = this;
    if (!input.mayHoldHead(FUZZ_LIMITS.maxHeadBytes)) return false;
    const after = head.parse(input.bytes, input.start, input.end);
    if (after === HEAD_INCOMPLETE) {
      input.isPartial = true;
      return false;
    }
    if (after === HEAD_REFUSED) return this.refuse(String(head.refusal));
    const message = seen(head, reading.used);
    reading.messages.push(message);
    this.use(after);
    this.body.begin(head.framing, head.contentLength, FUZZ_LIMITS.maxBodyBytes);
    this.current = message;
    return this.endIfComplete(message);
  }

  private readBody(message: SeenMessage): boolean {
    const { input } = this;
    const after = this.body.read(input.bytes, input.start, input.end, {
      onBody: (bytes, start, end) => {
        message.body += latin1(bytes, start, end);
      },
    });
    if (after < 0) return this.refuse(`body ${after}`);
    this.use(after);
    return this.endIfComplete(message);
  }

  private endIfComplete(message: SeenMessage): boolean {
    if (!this.body.isComplete) return true;
    message.isComplete = true;
    this.current = undefined;
    if (!message.keepAlive) this.reading.end = "closed";
    return true;
  }

  private use(position: number): void {
    this.reading.used += position - this.input.start;
    this.input.consume(position);
  }

  private refuse(why: string): false {
    this.reading.end = "refused";
    this.reading.why = why;
    return false;
  }
}

function seen(head: RequestHead, start: number): SeenMessage {
  return {
    start,
    method: head.method,
    target: latin1(head.target, head.targetStart, head.targetEnd) || "/",
    host: latin1(head.bytes, head.hostStart, head.hostEnd),
    status: 0,
    reason: "",
    minorVersion: head.minorVersion,
    keepAlive: head.keepAlive,
    fields: fieldsOf(head.fields),
    body: "",
    isComplete: false,
  };
}

export function fieldsOf(table: FieldTable): Field[] {
  return Array.from({ length: table.count }, (_, i) => [
    latin1(table.bytes, table.nameStart(i), table.nameEnd(i)),
    table.value(i),
  ]);
}

export function latin1(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1", start, end);
}
