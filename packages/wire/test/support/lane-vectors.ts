/** The frames that both ends of a lane must write and read, test/lane-vectors.json. */
import { readFileSync } from "node:fs";

export interface FrameVector {
  name: string;
  from: "balancer" | "instance" | "both";
  type: string;
  stream: number;
  hex: string;
  /** Of a HELLO. */
  version?: number;
  window?: number;
  streams?: number;
  /** Of a REQUEST: the request in HTTP/1.1, and a trusted peer's fields, as forwarded. */
  http1?: string;
  told?: [string, string][];
  /** Of a REQUEST whose response begins with a little window. */
  isLittle?: boolean;
  method?: string;
  target?: string;
  host?: string;
  /** Of a REQUEST whose client asked for another URL than the balancer's. */
  url?: string;
  /** Of a REQUEST and a RESPONSE. */
  flags?: number;
  fields?: [string, string][];
  /** Of a RESPONSE. */
  status?: number;
  length?: number;
  reason?: string;
  /** Of frames with only this payload. */
  text?: string;
  number?: number;
  byte?: number;
  /** Of COST. */
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

/** Returns the vector of that name. */
export function vector(name: string): FrameVector {
  const found = VECTORS.frames.find((each) => each.name === name);
  if (found === undefined) throw new Error(`no vector ${name}`);
  return found;
}
