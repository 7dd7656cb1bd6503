/** What a connection knows of its upstream, and what it tells it. */
import type { ProxyVersion } from "@paceline/wire";
import type { Deadlines } from "../deadlines.js";
import type { TurnShare } from "../downstream/reading.js";
import type { HeadWriter } from "../http1/head-writer.js";
import type { ResponseReceiver } from "../upstreams/upstream-client.js";

export interface UpstreamConnections<UpstreamConnection> {
  readonly deadlines: Deadlines;
  readonly requestWriter: HeadWriter;
  readonly turnShare: TurnShare;
  readonly isForeign: boolean;
  /** The version of the PROXY header that begins each connection. */
  readonly sendProxy: ProxyVersion | undefined;
  /** Whether an abandoned request keeps its place until the upstream has finished it. */
  readonly holdsPlaces: boolean;
  /** Whether an instance may continue to work on a request after its response, keeping its place. */
  readonly awaitsWork: boolean;
  /** Whether a report that an instance is done may stay unread for a while. */
  readonly readsDoneLater: boolean;
  /** The request was abandoned, but the upstream has not finished it. */
  giveUp(connection: UpstreamConnection): void;
  /** Set while the upstream may be running a request whose client has gone. */
  readonly leftAtWork: string | undefined;
  /** Notes such a request. */
  noteLeft(request: string | undefined): void;
  /** The connection is closed. */
  gone(connection: UpstreamConnection): void;
  /** The instance has finished the work after its response. @param wasRead whether that was read at once */
  done(connection: UpstreamConnection, wasRead: boolean): void;
  /** The connection has no request any more. Returns false if it must not be kept. */
  keep(connection: UpstreamConnection, receiver: ResponseReceiver): boolean;
  /** The peer closed an idle connection, or one without a response yet. Returns false if that was unexpected. */
  closedWhileKept(connection: UpstreamConnection): boolean;
}
