import { expect, test } from "vitest";
import * as format from "../src/model/format";

test("values are written as people read them", () => {
  const now = Date.parse("2026-11-22T10:00:00Z");
  const cases: [string, string, string][] = [
    ["", "plain", "plain"],
    ["duration", "7384", "2h 3m"],
    ["duration", "0", "0s"],
    ["duration", "-5", "0s"],
    ["duration", "90061", "1d 1h"],
    ["duration", "soon", "soon"],
    ["datetime", "2026-11-22T09:14:03Z", "45m ago"],
    ["datetime", "2026-11-22T10:00:05Z", "just now"],
    ["datetime", "yesterday", "yesterday"],
    ["filesize", "1536", "1.5 KB"],
    ["filesize", "", ""],
    ["percent", "12.345", "12.3 %"],
    ["unknown", "42", "42"],
  ];
  for (const [type, value, want] of cases)
    expect(format.formatValue(type, value, now).text, `${type} ${value}`).toBe(want);
});

test("metrics have their units", () => {
  const cases: [string, number, string, string][] = [
    ["percent", 0, "0 %", "0%"],
    ["percent", 4.25, "4.25 %", "4.3%"],
    ["percent", 99.96, "100 %", "100%"],
    ["filesize", 0, "0 B", "0"],
    ["filesize", 189 * 1024 * 1024, "189 MB", "189M"],
    ["filesize", 1.5 * 1024 ** 3, "1.5 GB", "1G"],
    ["integer", 1234.6, "1,235", "1,235"],
    ["", 0.42, "0.42", "0.42"],
    ["", 1234.5, "1,235", "1,235"],
  ];
  for (const [kind, value, long, short] of cases) {
    expect(format.formatMetric(kind, value), `${kind} ${value}`).toBe(long);
    expect(format.formatMetricShort(kind, value), `${kind} ${value} short`).toBe(short);
  }
});

test("counts and cuts", () => {
  expect([0, 1, 1200].map((n) => format.count(n, "node", "nodes"))).toEqual([
    "0 nodes",
    "1 node",
    "1,200 nodes",
  ]);
  expect(["abc", "abcdef"].map((text) => format.truncate(text, 4))).toEqual(["abc", "abc…"]);
  expect(format.truncate("abcdef", 0)).toBe("abcdef");
});
