/** The frames that both ends of a lane must make and read, test/lane-vectors.json. */
import { readFileSync } from "node:fs";

export interface FrameVector {
  name: string;
  from: "balancer" | "instance" | "both";
  type: string;
  stream: number;
  hex: string;
  /** Of a HELLO. */
  window?: number;
  streams?: number;
  /** Of a REQUEST: the request in HTTP/1.1, and what a trusted peer says, as it is passed on. */
  http1?: string;
  told?: [string, string][];
  method?: string;
  target?: string;
  host?: string;
  /** Of a REQUEST whose client asked for another than the balancer was. */
  url?: string;
  /** Of a REQUEST and a RESPONSE. */
  flags?: number;
  fields?: [string, string][];
  /** Of a RESPONSE. */
  status?: number;
  length?: number;
  reason?: string;
  /** Of frames that carry no more than this. */
  text?: string;
  number?: number;
  byte?: number;
}

export interface LaneVectors {
  frames: FrameVector[];
  /** What no decoder reads. */
  unreadable: { name: string; hex: string; problem: string }[];
  /** Frames that are whole, and that may not come. */
  refused: { name: string; by: "balancer" | "instance" | "both"; hex: string; problem: string }[];
  /** Answers whose heads cannot be passed on: they cost their request alone. */
  unfit: { name: string; hex: string }[];
}

export const VECTORS: LaneVectors = JSON.parse(
  readFileSync(new URL("../../../../test/lane-vectors.json", import.meta.url), "utf8"),
);

/** The one of that name. */
export function vector(name: string): FrameVector {
  const found = VECTORS.frames.find((each) => each.name === name);
  if (found === undefined) throw new Error(`no vector ${name}`);
  return found;
}
