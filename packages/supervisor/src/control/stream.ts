/** The stream that the page follows, as server-sent events: the status each second, and events of the fleet as they come. */
import type { ServerResponse } from "node:http";
import type { FleetEvent, Status, SupervisorApi } from "./api.js";
import { ControlError } from "./responses.js";

/** What followers are told of the time between two. */
const EVERY_MS = 1000;
const MAX_FOLLOWERS = 16;
/** A follower with more unread bytes is cut off; it may come back for the newest status. */
const MAX_UNREAD_BYTES = 2 << 20;
const RECENT_MS = 5000;
/** The events that a new follower gets. */
const FIRST_EVENTS = 200;

export class StatusStream {
  private readonly followers = new Set<ServerResponse>();
  private readonly subscriptions: (() => void)[] = [];

  constructor(
    private readonly supervisor: Pick<
      SupervisorApi,
      "status" | "onStatus" | "history" | "recentEvents" | "onEvent" | "page"
    >,
  ) {}

  /** @throws ControlError `busy` */
  open(response: ServerResponse): void {
    const { followers, supervisor } = this;
    if (followers.size >= MAX_FOLLOWERS)
      throw new ControlError(503, "busy", `${MAX_FOLLOWERS} clients follow the status already`);
    const { mayWrite } = supervisor.page();
    response.writeHead(200, { "Content-Type": "text/event-stream", "X-Accel-Buffering": "no" });
    response.write(
      messageOf("hello", { mayWrite, everyMs: EVERY_MS }) +
        messageOf("events", supervisor.recentEvents().slice(-FIRST_EVENTS)) +
        this.statusMessage(supervisor.status()),
    );
    followers.add(response);
    response.on("close", () => this.leave(response));
    if (this.subscriptions.length > 0) return;
    this.subscriptions.push(
      supervisor.onStatus((status) => this.send(this.statusMessage(status))),
      supervisor.onEvent((event: FleetEvent) => this.send(messageOf("events", [event]))),
    );
  }

  close(): void {
    for (const response of [...this.followers]) {
      this.leave(response);
      response.end();
    }
  }

  private statusMessage(status: Status): string {
    const at = Date.now();
    // Some seconds more than one: a follower drops those that it has, and loses none if a message is late.
    const recent = this.supervisor.history("seconds", at - RECENT_MS);
    return messageOf("status", { at, status, recent });
  }

  private send(text: string): void {
    for (const response of [...this.followers]) {
      if (response.writableLength > MAX_UNREAD_BYTES) response.destroy();
      else response.write(text);
    }
  }

  private leave(response: ServerResponse): void {
    this.followers.delete(response);
    if (this.followers.size > 0) return;
    for (const end of this.subscriptions.splice(0)) end();
  }
}

/** JSON has no line feeds, so each message has one line of data. */
function messageOf(event: string, data: object): string {
  return `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}
