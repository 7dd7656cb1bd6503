/** An instance that breaks its lane: too much, too little, too early, too late, garbage. Each frame names its request. */
import { FrameType } from "@paceline/wire/lane/protocol";
import { frameBytes } from "../../../wire/test/support/lane-frames.js";
import { below, type Random } from "./broken-responses.js";
import type { ScriptedRequest } from "./scripted-lane.js";

/** The frames of one request's response; every payload names the request. */
class Frames {
  readonly token: string;

  constructor(private readonly request: ScriptedRequest) {
    this.token = request.target.slice(1);
  }

  of(type: number, payload: Uint8Array | string = this.token): Buffer {
    return frameBytes({ type, id: this.request.id, payload: Buffer.from(payload) });
  }

  head(length = this.token.length, status = 200, flags = 2): Buffer {
    const fixed = Buffer.alloc(15);
    fixed.writeUInt16LE(status, 0);
    fixed[2] = flags;
    fixed.writeUIntLE(length, 8, 6);
    return this.of(FrameType.RESPONSE, Buffer.concat([fixed, Buffer.from(`x: ${this.token}\r\n\r\n`)]));
  }

  get hint(): Buffer {
    return this.head(0, 103, 0);
  }

  whole(): Buffer[] {
    if (this.request.method === "HEAD") return [this.head(this.token.length, 200, 3)];
    return [this.head(), this.of(FrameType.DATA, this.token.slice(0, 3)), this.of(FrameType.END, this.token.slice(3))];
  }
}

/** With weights: a frame that ends the lane also ends all its requests, so it is rare. */
const FORMS: readonly (readonly [number, (frames: Frames) => Buffer[]])[] = [
  [200, (frames) => frames.whole()],
  [40, (frames) => [frames.hint, ...frames.whole()]],
  [10, (frames) => [...new Array<Buffer>(20).fill(frames.hint), ...frames.whole()]],
  [10, (frames) => [frames.head(2 * frames.token.length), frames.of(FrameType.DATA), frames.of(FrameType.FAIL, "")]],
  [60, (frames) => [...frames.whole(), frames.head(), frames.of(FrameType.DATA), frames.of(FrameType.END)]],
  [2, (frames) => [frames.of(FrameType.DATA), ...frames.whole()]],
  [2, (frames) => [frames.head(3), frames.of(FrameType.DATA)]],
  [2, (frames) => [frames.head(2 * frames.token.length), frames.of(FrameType.END)]],
  [2, (frames) => [...frames.whole(), Buffer.from(frames.token)]],
];

/** Sends one of these frames, now or later and split anywhere. Sometimes it continues for a finished stream whose slot is used again. */
export function breakLane(request: ScriptedRequest, random: Random): void {
  const { lane } = request;
  const frames = new Frames(request);
  const bytes = Buffer.concat(draw(random)(frames));
  const place = below(random, bytes.length + 1);
  const isCut = random() < 0.003;
  const late = Buffer.concat([frames.head(), frames.of(FrameType.DATA), frames.of(FrameType.END)]);
  const [afterMs, lateMs] = [below(random, 6), below(random, 8)];
  request.begun();
  setTimeout(() => {
    lane.write(bytes.subarray(0, place));
    lane.write(bytes.subarray(place));
    if (isCut) lane.socket.end(frames.head().subarray(0, 20));
    if (lateMs > 1) setTimeout(() => lane.write(late), lateMs - 1);
  }, afterMs);
}

function draw(random: Random): (frames: Frames) => Buffer[] {
  let left = below(
    random,
    FORMS.reduce((sum, [weight]) => sum + weight, 0),
  );
  for (const [weight, form] of FORMS) {
    left -= weight;
    if (left < 0) return form;
  }
  throw new Error("the weights do not add up");
}
