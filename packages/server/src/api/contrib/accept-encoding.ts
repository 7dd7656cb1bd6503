/** Chooses a content coding by Accept-Encoding (RFC 9110 §12.5.3). Pure. */
import Negotiator from "negotiator";
import { type Coding, STREAM_ORDER, WHOLE_ORDER } from "./codings.js";

export interface Choice {
  /** For a body that is there; undefined: as it is. */
  readonly whole: Coding | undefined;
  /** For one that comes block by block. */
  readonly stream: Coding | undefined;
  /** The client refuses a body that is not encoded, and there is a coding it takes. */
  readonly mustEncode: boolean;
}

/** What its types do not know: among codings of one weight the first of `preferred` wins. */
interface Encodings {
  encodings(available: readonly string[], options: { preferred: readonly string[] }): string[];
}

/** Browsers send a handful of values; others may send any. */
const MAX_REMEMBERED = 100;

/** @returns a function that chooses among `available`, and remembers what it chose. */
export function chooser(available: readonly Coding[]): (acceptEncoding: string | null) => Choice {
  const remembered = new Map<string, Choice>();
  return (acceptEncoding) => {
    // No field: anything would do, but who does not say so is mostly a program that cannot decode.
    const value = acceptEncoding ?? "";
    let choice = remembered.get(value);
    if (choice === undefined) {
      if (remembered.size === MAX_REMEMBERED) remembered.clear();
      choice = choose(value, available);
      remembered.set(value, choice);
    }
    return choice;
  };
}

function choose(value: string, available: readonly Coding[]): Choice {
  const negotiator = new Negotiator({ headers: { "accept-encoding": value } }) as unknown as Encodings;
  const accepted = (preferred: readonly Coding[]) => negotiator.encodings([...available, "identity"], { preferred });
  const first = (order: readonly Coding[]) => {
    const [best] = accepted(order);
    return best === "identity" ? undefined : (best as Coding | undefined);
  };
  const whole = first(WHOLE_ORDER);
  return {
    whole,
    stream: first(STREAM_ORDER),
    mustEncode: whole !== undefined && !accepted(WHOLE_ORDER).includes("identity"),
  };
}
