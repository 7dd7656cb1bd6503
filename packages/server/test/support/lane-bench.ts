/** The instance's end of a lane on a simulated socket, with an app. */

import type { Scoreboard } from "@paceline/wire/lane/scoreboard";
import { LaneConnection, loadStreams } from "../../src/lane/lane-connection.js";
import type { ResponseReader } from "../../src/lane/response-reader.js";
import { RequestCounter } from "../../src/process/request-counter.js";
import type { FetchHandler } from "../../src/shared/app.js";
import { DEFAULT_LIMITS } from "../../src/shared/limits.js";
import { FakeLaneSocket } from "./fake-lane-socket.js";

/** The instance's number of the lane. */
export const LANE_NUMBER = 3;

export class LaneBench {
  readonly socket = new FakeLaneSocket();
  readonly errors: string[] = [];
  isLeaving = false;
  readonly connection: LaneConnection;
  readonly counter: RequestCounter;

  /** @param responses from `prepareResponses()` */
  constructor(responses: ResponseReader, handler: FetchHandler, scoreboard?: Scoreboard) {
    this.counter = new RequestCounter(() => this.connection.active);
    const services = {
      requests: { handler, responses, counter: this.counter },
      scoreboard,
      load: loadStreams,
      limits: DEFAULT_LIMITS,
      active: () => this.connection.active,
      isLeaving: () => this.isLeaving,
      onError: (error: unknown) => void this.errors.push(error instanceof Error ? error.message : String(error)),
      onRead: () => {},
      onGone: () => {},
    };
    this.connection = new LaneConnection(this.socket, services, LANE_NUMBER);
    this.socket.owner = this.connection;
  }

  give(...hex: string[]): void {
    this.connection.onData(Buffer.from(hex.join(""), "hex"));
  }
}

/** Resolves at the end of this turn of the event loop, when its output was sent. */
export const turnEnd = (): Promise<void> => new Promise((resolve) => void setImmediate(() => setImmediate(resolve)));
