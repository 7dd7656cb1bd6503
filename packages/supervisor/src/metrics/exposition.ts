/**
 * The text formats of metrics: OpenMetrics 1.0 (https://prometheus.io/docs/specs/om/open_metrics_spec/), and version 0.0.4 of Prometheus's
 * older format.
 */

/** A measured value and its labels. */
export interface Sample {
  labels: Readonly<Record<string, string>>;
  value: number;
}

/** The buckets of a histogram. */
export interface HistogramSample {
  labels: Readonly<Record<string, string>>;
  /** The upper bounds, without the last one, which is infinite. */
  bounds: readonly number[];
  /** The observations in each bucket, including the infinite one. */
  counts: readonly number[];
  sum: number;
}

export type Family = { name: string; help: string } & (
  | { type: "gauge" | "counter" | "info"; samples: readonly Sample[] }
  | { type: "histogram"; samples: readonly HistogramSample[] }
);

export type TextFormat = "openmetrics" | "prometheus";

export const CONTENT_TYPES: Record<TextFormat, string> = {
  openmetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8",
  prometheus: "text/plain; version=0.0.4; charset=utf-8",
};

/** Returns the format that a scraper requests in its Accept field. */
export function formatFor(accept: string): TextFormat {
  return /\bapplication\/openmetrics-text\b/.test(accept) ? "openmetrics" : "prometheus";
}

/** Returns the metrics as text. Families without samples are left out. A counter's name is passed without `_total`. */
export function textOf(families: readonly Family[], format: TextFormat): string {
  const labelled = labelTexts();
  let text = "";
  for (const family of families) if (family.samples.length > 0) text += familyText(family, format, labelled);
  return format === "openmetrics" ? `${text}# EOF\n` : text;
}

const SUFFIXES = { gauge: "", counter: "_total", info: "_info" };

function familyText(family: Family, format: TextFormat, labelled: LabelTexts): string {
  const { type, name } = family;
  const suffix = type === "histogram" ? "" : SUFFIXES[type];
  const isOpen = format === "openmetrics";
  const named = isOpen ? name : name + suffix;
  let text = `# HELP ${named} ${escapedHelp(family.help)}\n# TYPE ${named} ${type === "info" && !isOpen ? "gauge" : type}\n`;
  if (family.type === "histogram") {
    for (const sample of family.samples) text += histogramText(name, sample, labelled(sample.labels));
    return text;
  }
  for (const { labels, value } of family.samples) text += `${name}${suffix}${labelled(labels)} ${numberText(value)}\n`;
  return text;
}

function histogramText(name: string, { bounds, counts, sum }: HistogramSample, labelled: string): string {
  const bucket = `${name}_bucket${labelled === "" ? "{" : `${labelled.slice(0, -1)},`}le="`;
  let text = "";
  let total = 0;
  for (const [at, count] of counts.entries()) {
    total += count;
    const bound = bounds[at];
    const le = bound === undefined ? "+Inf" : numberText(bound);
    text += `${bucket}${le}"} ${numberText(total)}\n`;
  }
  return `${text}${name}_count${labelled} ${numberText(total)}\n${name}_sum${labelled} ${numberText(Math.round(sum * 1e6) / 1e6)}\n`;
}

type LabelTexts = (labels: Sample["labels"]) => string;

/**
 * Returns a function that returns the text of labels. Each text is generated once, because all samples of a process have the same labels.
 */
function labelTexts(): LabelTexts {
  const texts = new Map<Sample["labels"], string>();
  return (labels) => {
    const known = texts.get(labels) ?? labelText(labels);
    texts.set(labels, known);
    return known;
  };
}

function labelText(labels: Sample["labels"]): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapedValue(value)}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

function escapedHelp(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

function escapedValue(text: string): string {
  return escapedHelp(text).replaceAll('"', '\\"');
}

function numberText(value: number): string {
  if (Number.isFinite(value)) return String(value);
  return Number.isNaN(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
}
