import { expect, test } from "vitest";
import type { Diff } from "../src/model/protocol";
import { parseTopologies } from "../src/model/protocol";
import { defaultTopology, INITIAL, reduce, type State } from "../src/model/state";
import { EMPTY_VIEW } from "../src/model/url";
import { byId, chain, node } from "./build";

const VIEW = { ...EMPTY_VIEW, topologyId: "containers" };

function showing(text: string): State {
  return { ...INITIAL, view: VIEW, nodes: byId(chain(text)), loaded: true };
}

function diff(fields: Partial<Diff>): Diff {
  return { reset: false, add: [], update: [], remove: [], ...fields };
}

test("a diff changes the nodes, and the structure only where nodes or edges change", () => {
  const cases: [string, string, Diff, string[], boolean][] = [
    ["a node comes", "a>b", diff({ add: [node("c")] }), ["a", "b", "c"], true],
    ["a node goes", "a>b", diff({ remove: ["b"] }), ["a"], true],
    ["an unknown node goes", "a>b", diff({ remove: ["x"] }), ["a", "b"], false],
    [
      "a label changes",
      "a>b",
      diff({ update: [node("a", { label: "A", adjacency: ["b"] })] }),
      ["a", "b"],
      false,
    ],
    ["an edge comes", "a b", diff({ update: [node("a", { adjacency: ["b"] })] }), ["a", "b"], true],
    ["an edge goes", "a>b", diff({ update: [node("a")] }), ["a", "b"], true],
    ["an update of an unknown node adds it", "a", diff({ update: [node("z")] }), ["a", "z"], true],
    ["an add of a known node replaces it", "a>b", diff({ add: [node("b")] }), ["a", "b"], false],
    ["a reset with the same", "a>b", diff({ reset: true, add: chain("a>b") }), ["a", "b"], false],
    ["a reset with fewer", "a>b", diff({ reset: true, add: [node("a", { adjacency: ["b"] })] }), ["a"], true],
    ["a reset with others", "a b", diff({ reset: true, add: [node("x"), node("y")] }), ["x", "y"], true],
    ["an empty diff", "a", diff({}), ["a"], false],
  ];
  for (const [what, before, change, ids, structural] of cases) {
    const state = showing(before);
    const next = reduce(state, { type: "diff", topologyId: "containers", diff: change });
    expect([...next.nodes.keys()].sort(), what).toEqual(ids);
    expect(next.structure !== state.structure, what).toBe(structural);
  }
});

test("a diff leaves the state before it alone", () => {
  const state = showing("a>b");
  reduce(state, { type: "diff", topologyId: "containers", diff: diff({ remove: ["a"], add: [node("c")] }) });
  expect([...state.nodes.keys()]).toEqual(["a", "b"]);
});

test("a diff of a topology left behind is ignored", () => {
  const state = showing("a");
  expect(reduce(state, { type: "diff", topologyId: "hosts", diff: diff({ reset: true }) })).toBe(state);
});

test("a lost link keeps the nodes", () => {
  const lost = reduce(showing("a>b"), { type: "linkLost", retryAtMs: 5 });
  expect(lost.nodes.size).toBe(2);
  expect(lost.link).toEqual({ status: "lost", retryAtMs: 5 });
  expect(reduce(lost, { type: "linkUp" }).link).toEqual({ status: "live" });
});

test("another topology begins empty, the same one with other options does not", () => {
  const state = showing("a>b");
  const options = reduce(state, { type: "view", view: { ...VIEW, options: { system: "all" } } });
  expect([options.nodes.size, options.loaded, options.options]).toEqual([2, true, {}]);
  const answer = { type: "diff", topologyId: "containers", diff: diff({ reset: true }) } as const;
  expect(reduce(options, answer).options, "those the nodes were asked for with").toEqual({ system: "all" });
  const other = reduce(state, { type: "view", view: { ...VIEW, topologyId: "hosts" } });
  expect([other.nodes.size, other.loaded]).toEqual([0, false]);
});

test("details follow the card on top", () => {
  const card = { topologyId: "containers", id: "a" };
  const open = reduce(showing("a>b"), { type: "view", view: { ...VIEW, cards: [card] } });
  expect(open.detail).toEqual({ status: "loading", card });
  const detail = { ...node("a"), children: [], connections: [] };
  const shown = reduce(open, { type: "detail", card, node: detail });
  expect(shown.detail).toEqual({ status: "shown", card, node: detail });
  expect(reduce(shown, { type: "detail", card, node: null }).detail).toEqual({
    status: "gone",
    card,
    node: detail,
  });
  expect(reduce(shown, { type: "detail", card: { ...card, id: "b" }, node: null })).toEqual(shown);
  expect(reduce(shown, { type: "view", view: VIEW }).detail).toEqual({ status: "none" });
});

test("the first topology shown has something to show", () => {
  const list = (counts: Record<string, number>) =>
    parseTopologies(
      Object.entries(counts).map(([id, nodes], rank) => ({
        url: `/api/topology/${id}`,
        rank,
        stats: { node_count: nodes },
      })),
    );
  const cases: [Record<string, number>, string][] = [
    [{ processes: 9, containers: 4, hosts: 1 }, "containers"],
    [{ processes: 9, containers: 0, hosts: 1 }, "processes"],
    [{ processes: 0, containers: 0, hosts: 1 }, "hosts"],
    [{ processes: 0, containers: 0, hosts: 0 }, "containers"],
    [{ pods: 2, containers: 4 }, "pods"],
    [{ odd: 0 }, "odd"],
    [{}, ""],
  ];
  for (const [counts, want] of cases)
    expect(defaultTopology(list(counts)), JSON.stringify(counts)).toBe(want);
});
