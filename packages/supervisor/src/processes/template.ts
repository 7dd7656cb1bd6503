/** The state of a template, and of a process that it is to fork. */
import type { ChannelConnection } from "../channel/channel-connection.js";
import type { ExitStatus } from "../core/model.js";
import type { OutputFile } from "../logs/output.js";

/** A process to be forked. */
export interface ForkRequest {
  /** Such as `web.3#7`. */
  id: string;
  pool: string;
  generation: number;
  /** The variables that differ from the template's environment. */
  environment: Record<string, string>;
  outputPath: string;
  /** Returns its pid, which it may have reported before its template does. */
  pid(): number | null;
  onForked(pid: number): void;
  onExit(status: ExitStatus): void;
  onFailed(reason: string): void;
  /** The template ended before it forked the process. */
  onTemplateEnded(status: ExitStatus, fault: string | null, verdict: string | null, lastLines: string[]): void;
}

export interface Template {
  readonly kind: "template";
  /** Such as `web.template#2`. */
  readonly id: string;
  readonly name: string;
  readonly pool: string;
  readonly generation: number;
  readonly token: string;
  readonly attempt: number;
  readonly tag: string;
  readonly output: OutputFile;
  readonly spawnedAt: number;
  pid: number | null;
  connection: ChannelConnection | null;
  isReady: boolean;
  fault: string | null;
  /** Why we ended it. */
  verdict: string | null;
  hasEnded: boolean;
  /** Requested and not forked yet. */
  readonly waiting: Map<string, ForkRequest>;
  /** Forked and not ended. */
  readonly living: Map<string, { request: ForkRequest; pid: number; startTime: string | undefined }>;
}
