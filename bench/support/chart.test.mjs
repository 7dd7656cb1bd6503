/** The chart is well-formed with any names, and keeps the place of missing values. */
import { expect, test } from "vitest";
import { barChart } from "./chart.mjs";

const chart = (bars) => barChart({ title: "CPU", panels: [{ title: "Close", groups: [{ label: "2", bars }] }] });

test("names are escaped", () => {
  const svg = chart([{ name: `<a> & "b" 'c'`, value: 1 }]);
  expect(svg).not.toContain("<a>");
  expect(svg).toContain("&lt;a&gt; &amp; &quot;b&quot; &#39;c&#39;");
});

test("bars are as high as their values, in proportion", () => {
  const svg = chart([
    { name: "whole", value: 100 },
    { name: "half", value: 50 },
  ]);
  const heights = [...svg.matchAll(/height="([\d.]+)"><title>/g)].map(([, height]) => Number(height));
  expect(heights).toEqual([200, 100]);
});

test("a missing value has a dash and no bar", () => {
  const svg = chart([
    { name: "there", value: 3 },
    { name: "missing", value: undefined },
  ]);
  expect(svg.match(/<title>/g)).toHaveLength(2); // one of the chart, one of the bar
  expect(svg).toContain(">–</text>");
  expect(svg).not.toContain("NaN");
});
