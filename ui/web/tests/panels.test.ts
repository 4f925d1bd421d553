import { expect, test } from "vitest";
import { parseNode, type Metric } from "../src/model/protocol";
import { alike, disabledOf, problemsOf } from "../src/model/sources";
import { recent, sparkline } from "../src/panels/sparkline";
import { clickSort, defaultSort, NAME, sortRows } from "../src/panels/table";

function metric(samples: [number, number][]): Metric {
  const rows = samples.map(([seconds, value]) => ({ date: new Date(seconds * 1000).toISOString(), value }));
  const parsed = parseNode({ id: "n", metrics: [{ id: "m", samples: rows }] })?.metrics[0];
  if (!parsed) throw new Error("no metric");
  return parsed;
}

test("a sparkline ends with the newest sample and breaks where samples are missing", () => {
  const cases: [string, [number, number][], string | null][] = [
    ["nothing", [], null],
    ["one sample", [[0, 1]], null],
    [
      "a rise",
      [
        [0, 0],
        [12, 10],
      ],
      "M90 19L100 3.3",
    ],
    [
      "out of order",
      [
        [12, 10],
        [0, 0],
      ],
      "M90 19L100 3.3",
    ],
    [
      "a gap",
      [
        [0, 10],
        [60, 10],
      ],
      "M50 3.3M100 3.3",
    ],
    [
      "all nothing",
      [
        [0, 0],
        [12, 0],
      ],
      "M90 19L100 19",
    ],
    [
      "too old",
      [
        [0, 5],
        [600, 10],
        [612, 10],
      ],
      "M90 3.3L100 3.3",
    ],
  ];
  for (const [what, samples, want] of cases) {
    expect(sparkline(recent(metric(samples)), 100, 20)?.line ?? null, what).toBe(want);
  }
});

test("rows are sorted by number or text, and equal ones stay", () => {
  const cases: [(number | string)[], boolean, (number | string)[]][] = [
    [[3, 1, 2], false, [1, 2, 3]],
    [[3, 1, 2], true, [3, 2, 1]],
    [["b", "a"], false, ["a", "b"]],
    [["b", 1, -Infinity], false, [-Infinity, 1, "b"]],
  ];
  for (const [rows, descending, want] of cases)
    expect(sortRows(rows, (row) => row, descending)).toEqual(want);
  const pairs = [
    { key: 1, name: "x" },
    { key: 1, name: "y" },
  ];
  expect(sortRows(pairs, ({ key }) => key, true)).toEqual(pairs);
});

test("a click on a column sorts by it, a second one turns the order", () => {
  const column = (id: string, dataType: string, isDefault: boolean) => ({
    id,
    label: id,
    dataType,
    defaultSort: isDefault,
  });
  const start = defaultSort([column("port", "number", false), column("count", "number", true)]);
  expect(start).toEqual({ columnId: "count", descending: true });
  expect(clickSort(start, { id: "count", numeric: true })).toEqual({ columnId: "count", descending: false });
  expect(clickSort(start, { id: NAME, numeric: false })).toEqual({ columnId: NAME, descending: false });
  expect(defaultSort([])).toEqual({ columnId: NAME, descending: false });
});

test("sources that give nothing come before those that give less", () => {
  const source = (name: string, state: "ok" | "degraded" | "off") => ({
    name,
    state,
    mode: "",
    reason: "",
    cpuPercent: 0,
    lost: 0,
  });
  const probe = {
    id: "p",
    hostname: "h",
    version: "",
    sources: [source("a", "ok"), source("b", "degraded"), source("c", "off")],
  };
  const chosen = { ...source("d", "off"), mode: "disabled" };
  probe.sources.push(chosen);
  expect(disabledOf([probe]).map((entry) => entry.source.name)).toEqual(["d"]);
  expect(problemsOf([probe]).map((problem) => problem.source.name)).toEqual(["c", "b"]);
  const other = {
    ...probe,
    id: "q",
    hostname: "other",
    sources: [{ ...source("b", "degraded"), reason: "else" }, source("c", "off")],
  };
  const groups = alike(problemsOf([probe, other])).map(({ source, hosts }) => [
    source.name,
    source.reason,
    hosts,
  ]);
  const own = probe.hostname;
  expect(groups).toEqual([
    ["c", "", [own, "other"]],
    ["b", "", [own]],
    ["b", "else", ["other"]],
  ]);
});
