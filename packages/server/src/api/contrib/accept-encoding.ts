/** Chooses a content coding for a body. Pure. */
import { AcceptedCodings } from "../../shared/accept-encoding.js";
import { type Coding, STREAM_ORDER, WHOLE_ORDER } from "./codings.js";

export interface Choice {
  /** For a body that is there; undefined: as it is. */
  readonly whole: Coding | undefined;
  /** For one that comes block by block. */
  readonly stream: Coding | undefined;
  /** The client refuses a body that is not encoded, and there is a coding it takes. */
  readonly mustEncode: boolean;
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
  const accepted = new AcceptedCodings(value);
  const first = (order: readonly Coding[]) => accepted.best(order.filter((coding) => available.includes(coding)))[0];
  const whole = first(WHOLE_ORDER);
  return { whole, stream: first(STREAM_ORDER), mustEncode: whole !== undefined && accepted.refusesIdentity };
}
