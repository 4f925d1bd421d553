import { expect, test } from "vitest";
import {
  parseDetail,
  parseDiff,
  parseNode,
  parsePeer,
  parseProbes,
  parseTopologies,
} from "../src/model/protocol";

test("a node is read defensively", () => {
  const cases: [string, unknown, object | null][] = [
    ["nothing", null, null],
    ["a list", [], null],
    ["no id", { label: "x" }, null],
    [
      "only an id",
      { id: "a;<b>/c" },
      { id: "a;<b>/c", label: "a;<b>/c", adjacency: [], metadata: [], pseudo: false },
    ],
    [
      "null lists",
      { id: "a", adjacency: null, metadata: null, metrics: null, tables: null, parents: null },
      { adjacency: [] },
    ],
    [
      "lists of nonsense",
      { id: "a", adjacency: [1, null, "b", {}], metadata: [null, 3, { label: "no id" }] },
      { adjacency: ["1", "b"], metadata: [] },
    ],
    ["unknown fields", { id: "a", from_the_future: { deep: [1] } }, { id: "a" }],
    [
      "wrong types",
      { id: 5, label: 7, stack: "yes", pseudo: true, rank: {} },
      { id: "5", label: "7", stack: false, pseudo: true, rank: "" },
    ],
  ];
  for (const [what, raw, want] of cases) {
    const got = parseNode(raw);
    if (want === null) expect(got, what).toBeNull();
    else expect(got, what).toMatchObject(want);
  }
});

test("a metric's samples need a date", () => {
  const samples = [
    { date: "2026-11-22T10:00:00Z", value: 1.5 },
    { date: "nonsense", value: 2 },
    null,
    { value: 3 },
  ];
  const parsed = parseNode({
    id: "a",
    metrics: [
      { id: "cpu", value: "4.5", samples },
      { id: "x", value: NaN, samples: null },
    ],
  });
  expect(parsed?.metrics.map(({ id, value, samples: kept }) => [id, value, kept.length])).toEqual([
    ["cpu", 4.5, 1],
    ["x", 0, 0],
  ]);
});

test("a diff without lists is empty", () => {
  const cases: [unknown, object | null][] = [
    [
      { add: null, update: null, remove: null },
      { reset: false, add: [], update: [], remove: [] },
    ],
    [
      { reset: true, add: [{ id: "a" }, {}] },
      { reset: true, update: [] },
    ],
    [{ remove: ["a", 3, ""] }, { remove: ["a", "3"] }],
    ["text", null],
    [null, null],
  ];
  for (const [raw, want] of cases) {
    if (want === null) expect(parseDiff(raw)).toBeNull();
    else expect(parseDiff(raw)).toMatchObject(want);
  }
  expect(parseDiff({ reset: true, add: [{ id: "a" }, {}] })?.add.length).toBe(1);
});

test("topologies are sorted by rank and nested once", () => {
  const parsed = parseTopologies([
    { name: "Hosts", rank: 4, url: "/api/topology/hosts", stats: null },
    {
      name: "Containers",
      rank: 2,
      url: "/api/topology/containers",
      options: [
        {
          id: "system",
          defaultValue: "application",
          options: [{ value: "all", label: "All" }, { label: "no value" }],
        },
      ],
      sub_topologies: [
        { name: "by image", url: "/api/topology/containers-by-image", sub_topologies: [{ url: "/x" }] },
      ],
      stats: { node_count: 3, filtered_nodes: 2 },
    },
    { name: "no url" },
  ]);
  expect(parsed.map(({ id, nodeCount, filteredCount }) => [id, nodeCount, filteredCount])).toEqual([
    ["containers", 3, 2],
    ["hosts", 0, 0],
  ]);
  expect(parsed[0]?.subTopologies.map(({ id, subTopologies }) => [id, subTopologies])).toEqual([
    ["containers-by-image", []],
  ]);
  expect(parsed[0]?.options[0]?.choices).toEqual([{ value: "all", label: "All" }]);
});

test("details hold connections by column and groups without nodes", () => {
  const detail = parseDetail({
    node: {
      id: "a",
      connections: [
        {
          id: "incoming-connections",
          connections: [
            {
              id: "c",
              nodeId: "b",
              metadata: [
                { id: "port", value: 80 },
                { id: "count", value: "2" },
              ],
            },
          ],
        },
        { id: "outgoing-connections", connections: null },
      ],
      children: [{ topologyId: "processes" }, { label: "no topology" }],
    },
  });
  expect(detail?.connections.map((group) => group.connections.map(({ values }) => values))).toEqual([
    [{ port: "80", count: "2" }],
    [],
  ]);
  expect(detail?.children.map(({ topologyId, nodes }) => [topologyId, nodes])).toEqual([["processes", []]]);
  for (const raw of [null, {}, { node: null }, { node: {} }]) expect(parseDetail(raw)).toBeNull();
});

test("probes without sources and peers without a name are fine", () => {
  expect(
    parseProbes([
      { id: "p" },
      { hostname: "no id" },
      { id: "q", sources: [{ name: "docker", state: "strange" }, {}] },
    ]),
  ).toMatchObject([
    { id: "p", hostname: "p", sources: [] },
    { id: "q", sources: [{ name: "docker", state: "ok", reason: "" }] },
  ]);
  expect(parsePeer({})).toEqual({
    id: "",
    version: "",
    hostname: "",
    timeMs: NaN,
    lives: { live: 0, suspect: 0, gone: 0 },
    openMesh: false,
    meshProblems: 0,
  });
  expect(parsePeer("x")).toBeNull();
});

test("sources say what they cost and lose", () => {
  const cases: [Record<string, unknown>, [number, number]][] = [
    [{ cpuPercent: 0.8, lost: 12 }, [0.8, 12]],
    [{ cpuPercent: 0.3 }, [0.3, 0]],
    [{ cpuPercent: 0.3, lost: null }, [0.3, 0]],
    [{ cpuPercent: "x", lost: -4 }, [0, 0]],
  ];
  for (const [fields, want] of cases) {
    const [probe] = parseProbes([{ id: "p", sources: [{ name: "ebpf", ...fields }] }]);
    expect(probe?.sources.map(({ cpuPercent, lost }) => [cpuPercent, lost])).toEqual([want]);
  }
});

test("a node says whether it is heard of, in words this page may not know yet", () => {
  const since = "2026-11-22T09:30:00Z";
  const cases: [unknown, unknown][] = [
    [undefined, null],
    [null, null],
    ["gone", null],
    [
      { state: "gone", since },
      { state: "gone", sinceMs: Date.parse(since) },
    ],
    [
      { state: "suspect", since },
      { state: "suspect", sinceMs: Date.parse(since) },
    ],
    [{ state: "odd" }, { state: "suspect", sinceMs: 0 }],
  ];
  for (const [stale, want] of cases) expect(parseNode({ id: "a", stale })?.stale).toEqual(want);
});
