/** The tests of a verdict in words, for people. */
import type { VerdictTest } from "./verdict-model.js";

const UNITS: Record<VerdictTest["unit"], { name: string; digits: number }> = {
  points: { name: "pp", digits: 2 },
  ms: { name: "ms", digits: 1 },
  "MB/min": { name: "MB/min", digits: 1 },
  crashes: { name: "", digits: 0 },
};

/** Returns the difference, such as `+0.13 pp`; empty while nothing is known. */
export function differenceText({ canary, control, unit }: VerdictTest): string {
  return canary === null || control === null ? "" : signed(canary - control, unit);
}

/** Returns the largest difference that is allowed, such as `≤ +1 pp`. */
export function limitText({ limit, unit }: VerdictTest): string {
  return `≤ ${signed(limit, unit)}`;
}

/** Returns the interval of the difference, such as `-0.2 to +0.6 pp`; an end that is unknown is a question mark. */
export function intervalText({ interval: [low, high], unit }: VerdictTest): string {
  if (low === null && high === null) return "";
  const number = (end: number | null) => (end === null ? "?" : numberText(end, UNITS[unit].digits));
  return `${number(low)} to ${number(high)} ${UNITS[unit].name}`.trimEnd();
}

function signed(value: number, unit: VerdictTest["unit"]): string {
  const { name, digits } = UNITS[unit];
  return `${numberText(value, digits)} ${name}`.trimEnd();
}

function numberText(value: number, digits: number): string {
  const text = value.toFixed(digits).replace(/^-(0(\.0+)?)$/, "$1");
  const short = text.includes(".") ? text.replace(/\.?0+$/, "") : text;
  return Number(short) > 0 ? `+${short}` : short;
}
