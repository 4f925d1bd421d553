import { expect, test } from "vitest";
import { fit, reveal, toMap, toScreen, zoomAt, type Camera, type Viewport } from "../src/scene/camera";
import { arrival, distanceTo, edgeCurve, loopCurve, sample } from "../src/layout/curve";
import { edgeKey } from "../src/layout/geometry";
import { ColourBook, PALETTES } from "../src/scene/palette";
import { glyphOf } from "../src/scene/glyphs";
import { weightIn } from "../src/scene/lines";
import { choose, isDrawn } from "../src/scene/picture";
import { Scene, NO_FOCUS } from "../src/scene/scene";
import { outlineOf } from "../src/scene/shapes";
import { shapePath } from "../src/scene/svg";
import { Graph, listed } from "../src/model/graph";
import { levels, metricChoices } from "../src/model/metrics";
import { byId, chain, node } from "./build";

const VIEWPORT: Viewport = { width: 1000, height: 600, covered: 200 };

test("zooming keeps what is under the pointer", () => {
  const camera: Camera = { x: 30, y: -20, zoom: 0.7 };
  for (const anchor of [
    { x: 10, y: 20 },
    { x: 900, y: 500 },
  ]) {
    const before = toMap(camera, VIEWPORT, anchor);
    for (const factor of [0.01, 0.5, 2, 100]) {
      const after = toScreen(zoomAt(camera, VIEWPORT, anchor, factor), VIEWPORT, before);
      expect(after.x).toBeCloseTo(anchor.x);
      expect(after.y).toBeCloseTo(anchor.y);
    }
  }
});

test("a fitted map is on the free part of the screen", () => {
  for (const bounds of [
    { left: 0, top: 0, right: 0, bottom: 0 },
    { left: -900, top: 50, right: 4000, bottom: 900 },
  ]) {
    const camera = fit(bounds, VIEWPORT);
    const low = toScreen(camera, VIEWPORT, { x: bounds.left, y: bounds.top });
    const high = toScreen(camera, VIEWPORT, { x: bounds.right, y: bounds.bottom });
    expect(low.x).toBeGreaterThan(50);
    expect(high.x, "left of the zoom buttons").toBeLessThan(700);
    expect(low.y).toBeGreaterThan(50);
    expect(high.y).toBeLessThan(550);
  }
});

test("revealing moves only what is out of sight", () => {
  const camera: Camera = { x: 0, y: 0, zoom: 1 };
  expect(reveal(camera, VIEWPORT, { x: 50, y: 10 }, 60)).toEqual(camera);
  const hidden = reveal(camera, VIEWPORT, { x: 500, y: 0 }, 60);
  expect(toScreen(hidden, VIEWPORT, { x: 500, y: 0 }).x).toBeCloseTo(740);
});

test("an edge ends at the server's side that faces the client", () => {
  const cases: [string, { x: number; y: number }, [number, number]][] = [
    ["below", { x: 0, y: 200 }, [0, 1]],
    ["far below", { x: 300, y: 200 }, [0, 1]],
    ["above", { x: 0, y: -200 }, [0, -1]],
    ["right", { x: 200, y: 0 }, [1, 0]],
    ["left", { x: -200, y: 10 }, [-1, 0]],
    ["the same place", { x: 0, y: 0 }, [1, 0]],
  ];
  for (const [what, to, [dx, dy]] of cases) {
    const curve = edgeCurve({ x: 0, y: 0 }, to, [], false);
    expect([...curve].every(Number.isFinite), what).toBe(true);
    if (what === "the same place") continue;
    expect(arrival(curve).x, what).toBeCloseTo(dx);
    expect(arrival(curve).y, what).toBeCloseTo(dy);
  }
  const [one, other] = [
    edgeCurve({ x: 0, y: 0 }, { x: 0, y: 200 }, [], true),
    edgeCurve({ x: 0, y: 200 }, { x: 0, y: 0 }, [], true),
  ];
  expect(one[0]).not.toBe(other[0]);
});

test("a node that connects to itself has a loop beside its shape", () => {
  const { edges } = sceneOf("a>a a>b");
  expect(edges.map(({ from, to }) => `${from.id}>${to.id}`)).toEqual(["a>b", "a>a"]);
  const curve = loopCurve({ x: 100, y: 50 });
  expect(edges[1]?.curve.length).toBe(curve.length);
  expect(arrival(curve).x).toBeLessThan(-0.9);
  for (let i = 0; i + 1 < curve.length; i += 2)
    expect(Math.hypot((curve[i] ?? 0) - 100, (curve[i + 1] ?? 0) - 50)).toBeGreaterThan(27);
});

function sceneOf(text: string): Scene {
  const nodes = byId(chain(text));
  const graph = new Graph(nodes);
  const ids = [...nodes.keys()];
  const edges = ids.flatMap((id) => graph.of(id).servers.map((to): [string, string] => [id, to]));
  const scene = new Scene();
  const xy = Float64Array.from(ids.flatMap((_, i) => [i * 150, i * 140]));
  scene.place(ids, edges, { layout: "t", xy, bends: [], fresh: true, gain: 1 }, nodes, graph, 0);
  return scene;
}

test("what is looked at stands out with its neighbours", () => {
  const scene = sceneOf("a>b b>c c>d");
  const shades = (): string =>
    [...scene.items.values()].map((item) => (item.shadeTo === 1 ? item.id : "-")).join("");
  const cases: [Partial<typeof NO_FOCUS>, string][] = [
    [{}, "abcd"],
    [{ hover: "a" }, "ab--"],
    [{ selected: "c" }, "-bcd"],
    [{ selected: "d", hover: "a" }, "ab-d"],
    [{ found: new Set(["b"]) }, "-b--"],
    [{ hover: "nobody" }, "abcd"],
  ];
  for (const [focus, want] of cases) {
    scene.setFocus({ ...NO_FOCUS, ...focus });
    expect(shades(), JSON.stringify(focus)).toBe(want);
  }
});

test("a removed node fades and then is gone", () => {
  const scene = sceneOf("a>b");
  scene.tick(0);
  for (let ms = 100; ms <= 500; ms += 100) scene.tick(ms);
  const left = byId(chain("a"));
  scene.place(
    ["a"],
    [],
    { layout: "t", xy: Float64Array.of(0, 0), bends: [], fresh: false, gain: 1 },
    left,
    new Graph(left),
    500,
  );
  expect(scene.items.get("b")?.gone).toBe(true);
  expect(scene.hit({ x: 150, y: 140 }, 0)).toBeNull();
  for (let ms = 600; ms <= 4000; ms += 100) scene.tick(ms);
  expect([...scene.items.keys()]).toEqual(["a"]);
});

test("the detail falls with the zoom, and what is outside is left out", () => {
  const scene = sceneOf("a>b b>c");
  const at = (zoom: number, x = 150): string => {
    const picture = choose(scene, { x, y: 140, zoom }, { width: 800, height: 600, covered: 0 });
    return `${picture.detail} ${picture.nodes.length} ${picture.labels.length} ${picture.arrows}`;
  };
  expect(at(1)).toBe("shapes 3 3 true");
  expect(at(0.25)).toBe("sprites 3 0 false");
  expect(at(0.1)).toBe("dots 3 0 false");
  expect(at(1, 9000)).toBe("shapes 0 0 true");
});

test("edges of what is not heard of are kept apart, and labels change with its age alone", () => {
  const scene = sceneOf("a>b b>c");
  const stale = byId([
    ...chain("a>b b>c").filter(({ id }) => id !== "c"),
    node("c", { labelMinor: "osaka", stale: { state: "suspect", since: "1970-01-01T00:00:10Z" } }),
  ]);
  for (let ms = 0; ms <= 500; ms += 100) scene.tick(ms);
  scene.setClock(15_000);
  scene.refresh(stale, new Map());
  const picture = choose(scene, { x: 150, y: 140, zoom: 1 }, { width: 800, height: 600, covered: 0 });
  const names = (edges: readonly { from: { id: string }; to: { id: string } }[]): string[] =>
    edges.map(({ from, to }) => `${from.id}>${to.id}`);
  expect([names(picture.edges.flatMap((group) => group.edges)), names(picture.staleEdges)]).toEqual([
    ["a>b"],
    ["b>c"],
  ]);
  expect(scene.items.get("c")?.face.minor).toBe("5 s ago · osaka");
  expect([15_400, 16_000, 16_900, 80_000, 110_000].map((ms) => scene.setClock(ms))).toEqual([
    false,
    true,
    false,
    true,
    false,
  ]);
  expect(scene.items.get("c")?.face.minor).toBe("1 min ago · osaka");
});

test("a node is found at its place", () => {
  const scene = sceneOf("a>b b>c");
  const cases: [number, number, string | undefined][] = [
    [0, 0, "a"],
    [150, 160, "b"],
    [75, 70, undefined],
    [-20, 10, "a"],
  ];
  for (const [x, y, want] of cases) expect(scene.hit({ x, y }, 2)?.id, `${x},${y}`).toBe(want);
});

test("a point is as far from a curve as from the nearest of its points", () => {
  const curve = edgeCurve({ x: 0, y: 0 }, { x: 300, y: 280 }, [{ x: 40, y: 140 }], false);
  for (const { x, y } of sample(curve)) expect(distanceTo(curve, x, y, 6)).toBeLessThan(0.001);
  const cases: [number, number, number, boolean][] = [
    [0, 100, 20, true],
    [0, 100, 1, false],
    [300, 100, 6, false],
    [9000, 9000, 6, false],
  ];
  for (const [x, y, within, want] of cases)
    expect(Number.isFinite(distanceTo(curve, x, y, within)), `${x},${y}`).toBe(want);
  const straight = edgeCurve({ x: 0, y: 0 }, { x: 0, y: 400 }, [], false);
  expect(distanceTo(straight, 5, 200, 10)).toBeCloseTo(5);
  expect(distanceTo(straight, 0, 0, 40), "from its start").toBeCloseTo(29);
});

test("an edge is found along its line, the nearest first", () => {
  const scene = sceneOf("a>b b>c a>c c>c");
  const at = (x: number, y: number, reach: number): string | undefined => {
    const edge = scene.hitEdge({ x, y }, reach, () => true);
    return edge ? `${edge.from.id}>${edge.to.id}` : undefined;
  };
  for (const edge of scene.edges) {
    const points = sample(edge.curve);
    const middle = points[points.length >> 1] ?? { x: 0, y: 0 };
    expect(at(middle.x, middle.y, 6)).toBe(`${edge.from.id}>${edge.to.id}`);
  }
  expect(at(0, 260, 6), "beside all").toBeUndefined();
  expect(at(-200, 60, 6)).toBeUndefined();
  expect(
    scene.hitEdge({ x: 75, y: 70 }, 60, () => false),
    "none is drawn",
  ).toBeNull();
});

test("edges of a hub are not found where they are not drawn", () => {
  const spokes = Array.from({ length: 220 }, (_, i) => `hub>n${i}`).join(" ");
  const scene = sceneOf(spokes);
  const [edge] = scene.edges;
  if (!edge) throw new Error("no edge");
  expect([isDrawn(edge, 6), isDrawn(edge, 20)]).toEqual([false, true]);
});

test("an edge looked at stands out with its two ends", () => {
  const scene = sceneOf("a>b b>c c>d");
  const shades = (): string =>
    [...scene.items.values()].map((item) => (item.shadeTo === 1 ? item.id : "-")).join("");
  const standing = (): string[] => scene.edges.filter((edge) => scene.stands(edge)).map(({ to }) => to.id);
  const [ab, cd] = [edgeKey("a", "b"), edgeKey("c", "d")];
  const cases: [Partial<typeof NO_FOCUS>, string, string[]][] = [
    [{ hoverEdge: ab }, "abcd", ["b"]],
    [{ selectedEdge: ab }, "ab--", ["b"]],
    [{ selectedEdge: ab, hoverEdge: cd }, "ab--", ["b", "d"]],
    [{ selectedEdge: ab, hover: "d" }, "abcd", ["b", "d"]],
    [{ selectedEdge: edgeKey("a", "x"), hoverEdge: "" }, "abcd", []],
  ];
  for (const [focus, shade, edges] of cases) {
    scene.setFocus({ ...NO_FOCUS, ...focus });
    expect([shades(), standing()], JSON.stringify(focus)).toEqual([shade, edges]);
  }
});

test("figures change how lines look, and only that", () => {
  const scene = sceneOf("a>b b>c");
  for (let ms = 0; ms <= 500; ms += 100) scene.tick(ms);
  const places = (): string => JSON.stringify([...scene.items.values()].map(({ x, y, to }) => [x, y, to]));
  const weights = (): string[] =>
    choose(scene, { x: 150, y: 140, zoom: 1 }, { width: 800, height: 600, covered: 0 }).edges.map(
      ({ style, edges }) => `${weightIn(style)}: ${edges.map(({ to }) => to.id).join("")}`,
    );
  const before = places();
  const figures = (open: number) =>
    new Map([
      [edgeKey("a", "b"), { open, sent: null, received: null, confirmed: true, fading: false, stale: null }],
    ]);
  expect(weights()).toEqual(["0: bc"]);
  expect(scene.setFigures(figures(500), "plain"), "plain lines look alike").toBe(false);
  expect(scene.setFigures(figures(500), "connections")).toBe(true);
  expect(weights(), "the heaviest last, on top").toEqual(["0: c", "3: b"]);
  expect(scene.setFigures(figures(600), "connections"), "of the same weight").toBe(false);
  expect(scene.setFigures(new Map(), "connections")).toBe(true);
  expect(weights()).toEqual(["0: bc"]);
  expect(places()).toBe(before);
});

test("only so many edges are thick, the heaviest first", () => {
  const scene = sceneOf(Array.from({ length: 400 }, (_, i) => `a${i}>b${i}`).join(" "));
  for (let ms = 0; ms <= 500; ms += 100) scene.tick(ms);
  const thickFrom = (openOf: (i: number) => number): number => {
    const figures = scene.edges.map(
      ({ key }, i) =>
        [
          key,
          { open: openOf(i), sent: null, received: null, confirmed: true, fading: false, stale: null },
        ] as const,
    );
    scene.setFigures(new Map(figures), "connections");
    const camera = { x: 60_000, y: 56_000, zoom: 0.006 };
    return choose(scene, camera, { width: 1000, height: 1000, covered: 0 }).thickFrom;
  };
  const cases: [string, (i: number) => number, number][] = [
    ["few are more than one", (i) => (i < 10 ? 20 : 1), 2],
    ["all are the heaviest", () => 5000, 5],
    ["half and half", (i) => (i < 200 ? 5000 : 20), 3],
  ];
  for (const [what, openOf, want] of cases) expect(thickFrom(openOf), what).toBe(want);
});

test("a known service has its mark, and an unknown one the arrow out", () => {
  const outside = glyphOf("cloud", false, true);
  expect(glyphOf("cloud", false, true, "unheard-of")).toBe(outside);
  expect(glyphOf("cloud", false, true, "constructor")).toBe(outside);
  const icons =
    "ai balancer cache cdn certificate chat cloud code database identity mail monitoring packages payment queue registry storage time".split(
      " ",
    );
  const marks = icons.map((icon) => glyphOf("cloud", false, true, icon));
  expect(new Set(marks.map((mark) => JSON.stringify(mark))).size).toBe(icons.length);
  for (const [i, mark] of marks.entries())
    expect(mark.flat(2).every((at) => Math.abs(at) <= 1.01) && mark !== outside, icons[i]).toBe(true);
});

test("ranks keep their colours, and differ while there are colours left", () => {
  const book = new ColourBook(7);
  const first = ["nginx", "node", "redis", "postgres", "alpine", "mongo", "kafka"].map((rank) =>
    book.indexOf(rank),
  );
  expect(new Set(first).size).toBe(7);
  expect(book.indexOf("nginx")).toBe(first[0]);
  expect(book.indexOf("another")).toBeLessThan(7);
});

test("colours of groups, edges and texts have enough contrast", () => {
  for (const palette of Object.values(PALETTES)) {
    for (const colour of [...palette.groups, palette.neutral, ...palette.weights, palette.found]) {
      expect(
        contrast(colour, palette.background),
        `${colour} on ${palette.background}`,
      ).toBeGreaterThanOrEqual(3);
    }
    for (const colour of [palette.text, palette.muted])
      expect(contrast(colour, palette.background), colour).toBeGreaterThanOrEqual(4.5);
  }
});

function contrast(a: string, b: string): number {
  const luminance = (hex: string): number => {
    const [red = 0, green = 0, blue = 0] = [1, 3, 5].map((i) => {
      const share = parseInt(hex.slice(i, i + 2), 16) / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const [dark = 0, light = 0] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (light + 0.05) / (dark + 0.05);
}

test("every shape has an outline, unknown ones are circles", () => {
  for (const name of [
    "circle",
    "square",
    "triangle",
    "pentagon",
    "hexagon",
    "heptagon",
    "octagon",
    "cloud",
    "cylinder",
    "sheet",
  ]) {
    expect(outlineOf(name).shape).toBe(name);
    expect(shapePath(outlineOf(name).shape, 10).outline, name).toMatch(/^M.*Z$/);
  }
  expect(outlineOf("dottedcylinder")).toEqual({ shape: "cylinder", dotted: true });
  for (const name of ["", "__proto__", "constructor", "blob"])
    expect(outlineOf(name).shape, name).toBe("circle");
});

test("the graph keeps loops apart, and leaves out doubles and the unknown", () => {
  const graph = new Graph(byId([node("a", { adjacency: ["a", "b", "b", "nobody"] }), node("b")]));
  expect(graph.edgeCount).toBe(2);
  expect([...graph.loops]).toEqual(["a"]);
  expect(graph.of("b")).toEqual({ servers: [], clients: ["a"] });
  expect([...graph.neighbourhood("a")]).toEqual(["a", "b"]);
  expect(graph.of("nobody")).toEqual({ servers: [], clients: [] });
});

test("the list of nodes keeps the found and the well connected", () => {
  const nodes = byId(chain("hub>a hub>b hub>c lone"));
  const graph = new Graph(nodes);
  expect(listed(nodes, graph, null, 3).map(({ id }) => id)).toEqual(["a", "b", "hub"]);
  expect(listed(nodes, graph, new Set(["lone"]), 2).map(({ id }) => id)).toEqual(["hub", "lone"]);
});

test("nodes fill by a metric's share of its maximum", () => {
  const metric = (id: string, value: number, more = {}) =>
    node(id, { metrics: [{ id: "m", label: "M", value, ...more }] });
  const cases: [string, ReturnType<typeof node>[], number[]][] = [
    ["percent", [metric("a", 50, { format: "percent" })], [0.5]],
    ["a known maximum", [metric("a", 1, { max: 4 })], [0.25]],
    ["against the largest", [metric("a", 1), metric("b", 2)], [0.5, 1]],
    ["over the maximum", [metric("a", 9, { max: 4 })], [1]],
    ["below nothing", [metric("a", -9, { max: 4 })], [0]],
    ["all nothing", [metric("a", 0)], [0]],
    ["no value", [metric("a", 1, { valueEmpty: true })], []],
  ];
  for (const [what, nodes, want] of cases) {
    expect(
      [...levels(byId(nodes), "m").values()].map(({ level }) => level),
      what,
    ).toEqual(want);
  }
  expect(metricChoices([metric("a", 1), metric("b", 2)])).toEqual([{ id: "m", label: "M" }]);
  expect(levels(byId([metric("a", 1)]), "").size).toBe(0);
});
