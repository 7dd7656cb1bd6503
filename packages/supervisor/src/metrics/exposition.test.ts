/** The text formats, compared with the rules of their specifications. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Family, formatFor, textOf } from "./exposition.js";

const ONE: Family[] = [
  { name: "a_up", type: "gauge", help: "Up.", samples: [{ labels: {}, value: 1 }] },
  {
    name: "a_requests",
    type: "counter",
    help: "All\nof \\ them.",
    samples: [{ labels: { pool: 'w"e\\b\n' }, value: 3 }],
  },
  { name: "a_build", type: "info", help: "What.", samples: [{ labels: { version: "1" }, value: 1 }] },
  { name: "a_none", type: "gauge", help: "Nothing.", samples: [] },
  {
    name: "a_seconds",
    type: "histogram",
    help: "Time.",
    samples: [{ labels: { pool: "web" }, bounds: [0.1, 1], counts: [2, 0, 1], sum: 7.5 }],
  },
];

const HISTOGRAM = `a_seconds_bucket{pool="web",le="0.1"} 2
a_seconds_bucket{pool="web",le="1"} 2
a_seconds_bucket{pool="web",le="+Inf"} 3
a_seconds_count{pool="web"} 3
a_seconds_sum{pool="web"} 7.5
`;

describe("the text of metrics", () => {
  it("is OpenMetrics", () => {
    expect(textOf(ONE, "openmetrics")).toBe(`# HELP a_up Up.
# TYPE a_up gauge
a_up 1
# HELP a_requests All\\nof \\\\ them.
# TYPE a_requests counter
a_requests_total{pool="w\\"e\\\\b\\n"} 3
# HELP a_build What.
# TYPE a_build info
a_build_info{version="1"} 1
# HELP a_seconds Time.
# TYPE a_seconds histogram
${HISTOGRAM}# EOF
`);
  });

  it("is Prometheus's older format, whose types have the names of the samples", () => {
    const text = textOf(ONE, "prometheus");
    expect(text).toContain("# TYPE a_requests_total counter\n");
    expect(text).toContain("# TYPE a_build_info gauge\n");
    expect(text).toContain(HISTOGRAM);
    expect(text).not.toContain("# EOF");
  });

  it.each([
    ["", "prometheus"],
    ["*/*", "prometheus"],
    ["text/plain;version=0.0.4;q=0.5,*/*;q=0.1", "prometheus"],
    ["application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5", "openmetrics"],
  ])("for Accept: %s is that of %s", (accept, format) => {
    expect(formatFor(accept)).toBe(format);
  });

  it("has one line for each sample, whatever a label contains", () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ unit: fc.constantFrom('"', "\\", "\n", "\r", "}", " ", "é") }), { maxLength: 5 }),
        (values) => {
          const samples = values.map((value) => ({ labels: { value }, value: 1 }));
          const lines = textOf([{ name: "a", type: "gauge", help: "", samples }], "prometheus").split("\n");
          expect(lines.filter((line) => line.startsWith("a{")).length).toBe(values.length);
        },
      ),
    );
  });
});
