import { expect, test } from "vitest";
import {
  cardKey,
  CARDS_MAX,
  EMPTY_VIEW,
  formatHash,
  openCard,
  parseHash,
  QUERY_CHARS_MAX,
  topCard,
  type View,
} from "../src/model/url";

test("a hash gives back the view it was made of", () => {
  const cases: View[] = [
    EMPTY_VIEW,
    { ...EMPTY_VIEW, topologyId: "containers" },
    { ...EMPTY_VIEW, topologyId: "containers", panel: "peers", query: "stale" },
    { ...EMPTY_VIEW, topologyId: "containers", options: { system: "all", stopped: "" } },
    {
      ...EMPTY_VIEW,
      topologyId: "a/b?c#d",
      query: "image: nginx & cpu > 4%",
      metricId: "docker_cpu_total_usage",
    },
    {
      ...EMPTY_VIEW,
      topologyId: "hosts",
      cards: [
        { topologyId: "hosts", id: "tokyo;<host>" },
        { topologyId: "p", id: "a/b~c d%" },
      ],
    },
    {
      ...EMPTY_VIEW,
      topologyId: "c",
      lines: "traffic",
      cards: [
        { topologyId: "c", id: "a" },
        { topologyId: "c", source: "x~1%7E;<container>", target: "in-theinternet" },
        { topologyId: "c", id: "b" },
      ],
    },
  ];
  for (const view of cases) expect(parseHash(formatHash(view)), formatHash(view)).toEqual(view);
});

test("a hash that makes no sense is no failure", () => {
  const cases: [string, Partial<View>][] = [
    ["", {}],
    ["#", {}],
    ["#/%E0%A4%A", { topologyId: "" }],
    ["#containers", { topologyId: "containers" }],
    ["#/containers?node=&node=x&node=~y&node=a~", { topologyId: "containers", cards: [] }],
    ["#/c?edge=&edge=c&edge=c~a&edge=c~a~&edge=~a~b&edge=c~a~b~d&edge=c~%25~b", { topologyId: "c" }],
    ["#/c?lines=rainbow", { topologyId: "c", lines: "plain" }],
    ["#/c?panel=unheard-of", { topologyId: "c", panel: "" }],
    [`#/c?q=${"x".repeat(1000)}`, { topologyId: "c", query: "x".repeat(QUERY_CHARS_MAX) }],
  ];
  for (const [hash, want] of cases) expect(parseHash(hash), hash).toEqual({ ...EMPTY_VIEW, ...want });
});

test("a card opened again comes to the top, and the oldest go", () => {
  const open = (ids: string[]): View =>
    ids.reduce((view, id) => openCard(view, { topologyId: "t", id }), EMPTY_VIEW);
  expect(open(["a", "b", "a"]).cards.map(cardKey)).toEqual(["t\u0000b", "t\u0000a"]);
  expect(topCard(open(["a", "b"]))).toEqual({ topologyId: "t", id: "b" });
  expect(open(Array.from({ length: 20 }, (_, i) => `n${i}`)).cards.length).toBe(CARDS_MAX);
});
