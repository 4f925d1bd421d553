import { expect, test } from "vitest";
import { edgeKey } from "../src/layout/geometry";
import { parseEdge, parseEdges, RELATIONS_MAX, traffic, type Figures } from "../src/model/edges";
import { INITIAL, reduce, type State } from "../src/model/state";
import { EMPTY_VIEW } from "../src/model/url";
import {
  isFading,
  isOneSided,
  PLAIN,
  styleOf,
  weightIn,
  weightOf,
  WEIGHTS,
  widthOf,
} from "../src/scene/lines";
import { byId, chain } from "./build";

const KNOWN: Figures = { open: 3, sent: 1200, received: 53_000, confirmed: true, fading: false, stale: null };
const UNKNOWN: Figures = {
  open: null,
  sent: null,
  received: null,
  confirmed: true,
  fading: false,
  stale: null,
};

test("figures of edges are read, and what makes no sense is not known", () => {
  const cases: [string, unknown, Figures | undefined][] = [
    ["all there", { ...KNOWN }, KNOWN],
    ["nothing there", {}, UNKNOWN],
    ["null", { open: null, sent: null, received: null, confirmed: null, fading: null }, UNKNOWN],
    [
      "nothing is something",
      { open: 0, sent: 0, received: 0 },
      { ...UNKNOWN, open: 0, sent: 0, received: 0 },
    ],
    [
      "of other types",
      { open: "3", sent: "x", received: [1], confirmed: "no", fading: 1 },
      { ...UNKNOWN, open: 3 },
    ],
    ["out of bounds", { open: -1, sent: Infinity, received: NaN }, UNKNOWN],
    [
      "of a host that is silent",
      { fading: true, stale: { state: "gone", since: "1970-01-01T00:00:09Z" } },
      { ...UNKNOWN, fading: true, stale: { state: "gone", sinceMs: 9000 } },
    ],
    ["one side, fading", { confirmed: false, fading: true }, { ...UNKNOWN, confirmed: false, fading: true }],
  ];
  for (const [what, raw, want] of cases) {
    const read = parseEdges({ edges: [{ source: "a", target: "b", ...(raw as object) }] });
    expect(read?.get(edgeKey("a", "b")), what).toEqual(want);
  }
});

test("a list of edges leaves out what has no ends, and no list is no answer", () => {
  const entries = [
    { source: "a" },
    { target: "b" },
    { source: "", target: "b" },
    null,
    7,
    "x",
    [],
    { source: 1, target: 2 },
  ];
  expect([...(parseEdges({ edges: entries }) ?? [])].map(([key]) => key)).toEqual([edgeKey("1", "2")]);
  for (const raw of [null, undefined, "x", [], {}, { edges: null }, { edges: {} }])
    expect(parseEdges(raw)).toBeNull();
});

test("an edge is read with its relations, and unknown is not nothing", () => {
  const edge = parseEdge({
    source: { id: "a;<container>", label: "a", labelMinor: "alpha" },
    target: { id: "b" },
    open: 3,
    rttMicros: 180,
    firstSeen: "2026-11-22T09:00:00Z",
    lastSeen: "yesterday",
    seenBy: ["sock_diag", null, "eBPF"],
    relations: [
      {
        protocol: "tcp",
        port: 80,
        client: { label: "curl (1)", host: "alpha", node: "p;1", topology: "processes" },
        server: { label: "nginx", node: "p;2" },
        via: "10.0.0.2:8080",
        toldBy: ["alpha", "beta"],
      },
      {},
      null,
      "x",
    ],
  });
  expect(edge).toMatchObject({
    source: { id: "a;<container>", label: "a", labelMinor: "alpha" },
    target: { id: "b", label: "b", labelMinor: "" },
    open: 3,
    opened: null,
    sent: null,
    rttMicros: 180,
    retransmits: null,
    confirmed: true,
    fading: false,
    stale: null,
    firstSeenMs: Date.parse("2026-11-22T09:00:00Z"),
    lastSeenMs: null,
    seenBy: ["sock_diag", "eBPF"],
    overflow: 0,
  });
  expect(edge?.relations.length).toBe(2);
  expect(edge?.relations[0]).toMatchObject({
    client: { label: "curl (1)", host: "alpha", node: { topologyId: "processes", id: "p;1" } },
    server: { label: "nginx", host: "", node: null },
    via: "10.0.0.2:8080",
    masquerade: "",
    toldBy: ["alpha", "beta"],
  });
  expect(edge?.relations[1]).toMatchObject({ protocol: "tcp", port: 0, client: { label: "?", node: null } });
});

test("an edge without two ends is none, and only so many relations are held", () => {
  const ends = { source: { id: "a" }, target: { id: "b" } };
  const cases: unknown[] = [
    null,
    "x",
    [],
    {},
    { source: { id: "a" } },
    { ...ends, source: { label: "a" } },
    { ...ends, target: "b" },
  ];
  for (const raw of cases) expect(parseEdge(raw), JSON.stringify(raw)).toBeNull();
  for (const relations of [undefined, null, "x", {}])
    expect(parseEdge({ ...ends, relations })?.relations).toEqual([]);
  const many = parseEdge({ ...ends, relations: Array(RELATIONS_MAX + 3).fill({}), more: 4 });
  expect([many?.relations.length, many?.overflow]).toEqual([RELATIONS_MAX, 7]);
});

test("traffic is both ways together, and unknown only if neither is known", () => {
  const cases: [number | null, number | null, number | null][] = [
    [null, null, null],
    [5, null, 5],
    [null, 7, 7],
    [5, 7, 12],
    [0, 0, 0],
  ];
  for (const [sent, received, want] of cases) expect(traffic({ sent, received })).toBe(want);
});

test("weights grow in even steps of a logarithmic scale, and are bounded", () => {
  const open: [number | null, number][] = [
    [null, 0],
    [0, 0],
    [1, 1],
    [9, 1],
    [10, 2],
    [100, 3],
    [1000, 4],
    [1e12, 4],
  ];
  for (const [value, want] of open)
    expect(weightOf({ ...UNKNOWN, open: value }, "connections"), `${value}`).toBe(want);
  const bytes: [number | null, number][] = [
    [null, 0],
    [1023, 0],
    [1024, 1],
    [40_000, 2],
    [2e6, 3],
    [1e8, 4],
    [1e15, 4],
  ];
  for (const [value, want] of bytes)
    expect(weightOf({ ...UNKNOWN, sent: value }, "traffic"), `${value}`).toBe(want);
  expect(weightOf(KNOWN, "plain")).toBe(0);
  expect(weightOf(undefined, "traffic")).toBe(0);
  for (const zoom of [0.02, 0.5, 1, 3]) {
    const widths = Array.from({ length: WEIGHTS }, (_, weight) => widthOf(weight, zoom));
    expect(
      widths.every((width, i) => width > (widths[i - 1] ?? 0) && width <= 7),
      `${zoom}: ${widths}`,
    ).toBe(true);
  }
});

test("a style holds weight and marks apart", () => {
  expect(styleOf(undefined, "traffic")).toBe(PLAIN);
  expect(styleOf(KNOWN, "plain")).toBe(PLAIN);
  for (const confirmed of [true, false]) {
    for (const fading of [true, false]) {
      const style = styleOf({ ...KNOWN, open: 1000, confirmed, fading }, "connections");
      expect([weightIn(style), isOneSided(style), isFading(style)]).toEqual([4, !confirmed, fading]);
    }
  }
});

const VIEW = { ...EMPTY_VIEW, topologyId: "containers" };
const figures = new Map([[edgeKey("a", "b"), KNOWN]]);

function showing(): State {
  return { ...INITIAL, view: VIEW, nodes: byId(chain("a>b")), loaded: true };
}

test("figures of edges change neither nodes nor structure, and go with their topology", () => {
  const state = showing();
  const told = reduce(state, { type: "figures", topologyId: "containers", figures });
  expect(told).toEqual({ ...state, figures });
  expect(told.nodes).toBe(state.nodes);
  expect(reduce(told, { type: "figures", topologyId: "hosts", figures: new Map() })).toBe(told);
  expect(reduce(told, { type: "view", view: { ...VIEW, lines: "traffic" } }).figures).toBe(figures);
  expect(reduce(told, { type: "view", view: { ...VIEW, topologyId: "hosts" } }).figures.size).toBe(0);
});

test("an edge's details follow its card, and stay when it has gone", () => {
  const card = { topologyId: "containers", source: "a", target: "b" };
  const edge = parseEdge({ source: { id: "a" }, target: { id: "b" } });
  if (!edge) throw new Error("no edge");
  const open = reduce(showing(), { type: "view", view: { ...VIEW, cards: [card] } });
  expect(open.detail).toEqual({ status: "loading", card });
  expect(reduce(open, { type: "edge", card, edge: null }).detail).toEqual({
    status: "gone",
    card,
    edge: null,
  });
  const shown = reduce(open, { type: "edge", card, edge });
  expect(shown.detail).toEqual({ status: "shown", card, edge });
  expect(reduce(shown, { type: "edge", card, edge: null }).detail).toEqual({ status: "gone", card, edge });
  expect(reduce(shown, { type: "edge", card: { ...card, target: "c" }, edge })).toEqual(shown);
  const node = { topologyId: "containers", id: "a" };
  expect(reduce(shown, { type: "view", view: { ...VIEW, cards: [card, node] } }).detail.status).toBe(
    "loading",
  );
});
