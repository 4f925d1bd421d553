import { expect, test } from "vitest";
import { arrange } from "../src/layout/arrange";
import { GAP_X, GAP_Y, indexGraph, Work, type IndexGraph, type Point } from "../src/layout/geometry";
import { isotonic } from "../src/layout/coordinates";
import { LayoutService } from "../src/layout/messages";
import { NOTHING, place, REMEMBERED_MAX, tidy, type Placed } from "../src/layout/place";
import { seeded } from "./build";

type Edge = [string, string];

function graph(text: string): IndexGraph {
  const edges: Edge[] = [];
  const ids = new Set<string>();
  for (const term of text.split(" ").filter((part) => part !== "")) {
    const [from = "", to] = term.split(">");
    ids.add(from);
    if (to) ids.add(to);
    if (to) edges.push([from, to]);
  }
  return indexOf([...ids], edges);
}

function indexOf(ids: readonly string[], edges: readonly Edge[]): IndexGraph {
  return indexGraph(
    ids.map((id) => ({ id, sort: "" })),
    edges,
  );
}

/** `count` nodes in groups of about 20, as apps are, with a few edges between groups. */
function apps(count: number, seed: number): { ids: string[]; edges: Edge[] } {
  const roll = seeded(seed);
  const ids = Array.from({ length: count }, (_, i) => `n${i}`);
  const edges: Edge[] = [];
  for (let i = 1; i < count; i++) {
    const near = i - 1 - Math.floor(roll() * Math.min(i, 12));
    if (i % 20 !== 0) edges.push([`n${near}`, `n${i}`]);
    if (roll() < 0.05) edges.push([`n${Math.floor(roll() * count)}`, `n${i}`]);
  }
  return { ids, edges };
}

function at(placed: Placed, id: string): Point {
  const point = placed.at.get(id);
  if (!point) throw new Error(`${id} has no place`);
  return point;
}

function tooClose(points: readonly Point[]): number {
  let pairs = 0;
  points.forEach((a, i) => {
    for (const b of points.slice(i + 1)) if (Math.abs(a.x - b.x) < 49 && Math.abs(a.y - b.y) < 80) pairs += 1;
  });
  return pairs;
}

test("a chain runs straight down", () => {
  const placed = tidy(graph("client>web web>api api>redis"));
  const points = ["client", "web", "api", "redis"].map((id) => at(placed, id));
  expect(new Set(points.map(({ x }) => Math.round(x))).size).toBe(1);
  expect(points.map(({ y }, i) => (i === 0 ? GAP_Y : y - (points[i - 1]?.y ?? 0)))).toEqual([
    GAP_Y,
    GAP_Y,
    GAP_Y,
    GAP_Y,
  ]);
});

test("clients stand above servers, and a parent in the middle of its children", () => {
  const cases: [string, string, [string, string][]][] = [
    [
      "a tree",
      "a>b a>c",
      [
        ["a", "b"],
        ["a", "c"],
      ],
    ],
    [
      "a diamond",
      "a>b a>c b>d c>d",
      [
        ["a", "b"],
        ["b", "d"],
        ["c", "d"],
      ],
    ],
    [
      "a long edge",
      "a>b b>c a>c",
      [
        ["a", "b"],
        ["b", "c"],
      ],
    ],
    [
      "a cycle",
      "a>b b>c c>a x>a",
      [
        ["x", "a"],
        ["a", "b"],
        ["b", "c"],
      ],
    ],
    [
      "two components",
      "a>b c>d",
      [
        ["a", "b"],
        ["c", "d"],
      ],
    ],
    ["a late source", "a>b b>c x>c", [["x", "c"]]],
  ];
  for (const [what, text, above] of cases) {
    const placed = tidy(graph(text));
    for (const [upper, lower] of above)
      expect(at(placed, lower).y - at(placed, upper).y, `${what}: ${upper}>${lower}`).toBeGreaterThan(
        GAP_Y / 2,
      );
  }
  const tree = tidy(graph("a>b a>c"));
  expect(at(tree, "a").x).toBeCloseTo((at(tree, "b").x + at(tree, "c").x) / 2);
});

test("an edge over a layer goes round the node in it", () => {
  const placed = tidy(graph("a>b b>c a>c"));
  const [corner] = [...placed.bends.values()].flat();
  expect(Math.abs((corner?.x ?? 0) - at(placed, "b").x)).toBeGreaterThan(60);
});

test("no two nodes overlap", () => {
  const star = Array.from({ length: 60 }, (_, i) => `hub>leaf${i}`).join(" ");
  const isolated = Array.from({ length: 30 }, (_, i) => `i${i}`).join(" ");
  for (const text of ["", "a", "a b c", star, isolated, `${star} ${isolated} x>y`, "a>a"]) {
    expect(tooClose(arrange(graph(text)).points), text.slice(0, 40)).toBe(0);
  }
  const { ids, edges } = apps(400, 1);
  expect(tooClose(arrange(indexOf(ids, edges)).points)).toBe(0);
});

test("equal input gives an equal picture, whatever order it comes in", () => {
  const { ids, edges } = apps(120, 2);
  const shuffled = indexOf([...ids].reverse(), [...edges, ...edges].reverse());
  expect(arrange(shuffled)).toEqual(arrange(indexOf(ids, edges)));
});

test("no old node moves over fifty random diffs, and none overlap", () => {
  for (const seed of [1, 2, 3]) {
    const roll = seeded(seed);
    const { ids: start, edges: links } = apps(80, seed);
    let ids = [...start];
    let edges = [...links];
    let placed = place(NOTHING, indexOf(ids, edges));
    for (let step = 0; step < 50; step++) {
      const before = placed;
      const kept = ids.filter(() => roll() > 0.04);
      const fresh = Array.from({ length: Math.floor(roll() * 5) }, (_, i) => `s${step}-${i}`);
      const pick = (): string => kept[Math.floor(roll() * kept.length)] ?? "";
      edges.push(
        ...fresh.filter(() => roll() < 0.7).map((id): Edge => (roll() < 0.5 ? [id, pick()] : [pick(), id])),
      );
      ids = [...kept, ...fresh];
      edges = edges.filter(([from, to]) => ids.includes(from) && ids.includes(to));
      placed = place(before, indexOf(ids, edges));
      for (const id of kept)
        expect(at(placed, id), `seed ${seed}, step ${step}, ${id}`).toEqual(at(before, id));
      expect(tooClose(ids.map((id) => at(placed, id))), `seed ${seed}, step ${step}`).toBe(0);
    }
  }
});

test("a new node stands near its neighbours, on the right side of them", () => {
  const before = tidy(graph("a>b b>c"));
  const placed = place(before, graph("a>b b>c a>new old>b"));
  expect(at(placed, "new").y).toBeGreaterThan(at(placed, "a").y);
  expect(Math.abs(at(placed, "new").x - at(placed, "a").x)).toBeLessThanOrEqual(2 * GAP_X);
  expect(at(placed, "old").y).toBeLessThan(at(placed, "b").y);
});

test("a node that comes back has its old place", () => {
  const full = tidy(graph("a>b a>c a>d"));
  const without = place(full, graph("a>b a>d"));
  expect(at(place(without, graph("a>b a>c a>d")), "c")).toEqual(at(full, "c"));
});

test("places of nodes that went are forgotten in the end", () => {
  let placed = tidy(graph("stays"));
  for (let round = 0; round < 8; round++) {
    const many = Array.from({ length: 1000 }, (_, i) => `r${round}-${i}`);
    placed = place(placed, indexOf(["stays", ...many], []));
  }
  expect(placed.at.size).toBeLessThanOrEqual(REMEMBERED_MAX + 1001);
});

test("the work grows little faster than the graph", () => {
  const steps = (count: number): number => {
    const { ids, edges } = apps(count, 5);
    const work = new Work();
    arrange(indexOf(ids, edges), work);
    return work.steps;
  };
  // 20 sweeps over nodes, edges and virtual nodes, with a logarithm for the crossings.
  for (const count of [100, 1000, 5000])
    expect(steps(count) / (count * Math.log2(count)), `${count} nodes`).toBeLessThan(400);
});

test("a diff costs what changed, not a layout", () => {
  const { ids, edges } = apps(1000, 6);
  const placed = tidy(indexOf(ids, edges));
  const work = new Work();
  place(placed, indexOf([...ids, "x", "y"], [...edges, ["n5", "x"], ["y", "n9"]]), work);
  expect(work.steps).toBeLessThan(20 * ids.length);
});

test("isotonic regression pools what is out of order", () => {
  const cases: [number[], number[], number[]][] = [
    [[], [], []],
    [
      [1, 2, 3],
      [1, 1, 1],
      [1, 2, 3],
    ],
    [
      [3, 1],
      [1, 1],
      [2, 2],
    ],
    [
      [3, 1],
      [3, 1],
      [2.5, 2.5],
    ],
    [
      [5, 4, 1, 9],
      [1, 1, 2, 1],
      [2.75, 2.75, 2.75, 9],
    ],
  ];
  for (const [wanted, weights, want] of cases) expect(isotonic(wanted, weights)).toEqual(want);
});

test("the service keeps a layout for each topology and says when it moved everything", () => {
  const service = new LayoutService();
  const ask = (layout: string, ids: string[], tidyUp = false) =>
    service.handle({
      layout,
      nodes: ids.map((id) => ({ id, sort: "" })),
      edges: Uint32Array.of(0, 1),
      tidy: tidyUp,
    });
  const first = ask("containers", ["a", "b"]);
  expect(first.fresh).toBe(true);
  expect(ask("hosts", ["x", "y"]).fresh).toBe(true);
  const second = ask("containers", ["a", "b", "c"]);
  expect(second.fresh).toBe(false);
  expect([...second.xy.slice(0, 4)]).toEqual([...first.xy]);
  expect(ask("containers", ["a", "b", "c"], true).fresh).toBe(true);
});

test("a row of single nodes that became a chain is worth a tidy-up", () => {
  const service = new LayoutService();
  const nodes = ["a", "b", "c", "d"].map((id) => ({ id, sort: "" }));
  service.handle({ layout: "t", nodes, edges: new Uint32Array(), tidy: false });
  const edges = Uint32Array.of(0, 1, 1, 2, 2, 3);
  expect(service.handle({ layout: "t", nodes, edges, tidy: false }).gain).toBeGreaterThan(1.35);
  expect(service.handle({ layout: "t", nodes, edges, tidy: true }).gain).toBe(1);
});
