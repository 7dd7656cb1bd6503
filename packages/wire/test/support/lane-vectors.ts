/** The frames that both ends of a lane must write and read, test/lane-vectors.json. */
import { readFileSync } from "node:fs";

export interface FrameVector {
  name: string;
  from: "balancer" | "instance" | "both";
  type: string;
  stream: number;
  hex: string;
  /** In a HELLO. */
  version?: number;
  window?: number;
  streams?: number;
  /** In a REQUEST: the request in HTTP/1.1, and the fields of a trusted peer, as forwarded. */
  http1?: string;
  told?: [string, string][];
  /** In a REQUEST whose response begins with a small window. */
  isLittle?: boolean;
  method?: string;
  target?: string;
  host?: string;
  /** In a REQUEST whose client requested another URL than the balancer's. */
  url?: string;
  /** In a REQUEST and in a RESPONSE. */
  flags?: number;
  fields?: [string, string][];
  /** In a RESPONSE. */
  status?: number;
  length?: number;
  reason?: string;
  /** In frames with only this payload. */
  text?: string;
  number?: number;
  byte?: number;
  /** In a COST. */
  requests?: number;
  micros?: number;
  pid?: number;
  maxData?: number;
  takesTrailers?: boolean;
}

export interface LaneVectors {
  frames: FrameVector[];
  /** Frames that no decoder accepts. */
  unreadable: { name: string; hex: string; problem: string }[];
  /** Well-formed frames that are not allowed. */
  refused: { name: string; by: "balancer" | "instance" | "both"; hex: string; problem: string }[];
  /** Responses whose heads cannot be forwarded: only their request fails. */
  unfit: { name: string; hex: string }[];
}

export const VECTORS: LaneVectors = JSON.parse(
  readFileSync(new URL("../../../../test/lane-vectors.json", import.meta.url), "utf8"),
);

/** Returns the vector with that name. */
export function vector(name: string): FrameVector {
  const found = VECTORS.frames.find((each) => each.name === name);
  if (found === undefined) throw new Error(`no vector ${name}`);
  return found;
}
