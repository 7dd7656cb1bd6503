/** An upgrade over the lane: a request's stream becomes a two-way tunnel of bytes. */

import { fieldLinesOf } from "@paceline/wire/lane/response-head";
import type { Upgrade } from "../shared/app.js";

/** Represents 101 Switching Protocols, which no Response can have. */
export class UpgradeResponse {
  /** Field lines of the response's head. */
  readonly lines: string;
  /** Called when the 101 was sent to the lane. */
  onSwitched: () => void = () => {};

  constructor(fields: Readonly<Record<string, string>>) {
    const named = new Headers(fields);
    this.lines = fieldLinesOf(named as never).text;
  }
}

/** What a tunnel needs of its stream. */
export interface TunnelStream {
  readonly isOver: boolean;
  readonly requestBody: ReadableStream<Uint8Array>;
  write(block: Uint8Array): boolean;
  drained(): Promise<void>;
  endBody(): void;
  failed(error: unknown): void;
}

/** @param protocol the client's protocol, which is used in the response unless `fields` contain one */
export function makeUpgrade(
  stream: TunnelStream,
  protocol: string,
  fields: Readonly<Record<string, string>> = {},
): Upgrade {
  const upgradeResponse = new UpgradeResponse({ upgrade: protocol, ...fields });
  const switched = new Promise<void>((resolve) => {
    upgradeResponse.onSwitched = resolve;
  });
  const writable = new WritableStream<Uint8Array>({
    start: () => switched,
    write(block) {
      if (stream.isOver) throw new Error("the client has left");
      return stream.write(block) ? undefined : stream.drained();
    },
    close: () => {
      if (!stream.isOver) stream.endBody();
    },
    abort: (reason) => stream.failed(reason ?? new Error("the tunnel was aborted")),
  });
  return { response: upgradeResponse as unknown as Response, readable: stream.requestBody, writable };
}
