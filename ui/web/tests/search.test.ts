import { expect, test } from "vitest";
import { parseQuantity, search } from "../src/model/search";
import { byId, node } from "./build";

const MIB = 1024 * 1024;

function container(id: string, image: string, cpu: number, memoryMib: number, extra = {}) {
  return node(id, {
    labelMinor: "tokyo",
    metadata: [
      { id: "docker_image_name", label: "Image name", value: image },
      { id: "ip", label: "IP", value: `10.0.0.${id.length}` },
    ],
    parents: [{ id: "h", label: "tokyo", topologyId: "hosts" }],
    metrics: [
      { id: "cpu", label: "CPU", format: "percent", value: cpu },
      { id: "memory", label: "Memory", format: "filesize", value: memoryMib * MIB },
    ],
    tables: [
      {
        id: "labels",
        label: "Docker labels",
        rows: [{ id: "r", entries: { label: "team", value: `team-${id}` } }],
      },
    ],
    ...extra,
  });
}

const NODES = byId([
  container("web", "nginx:1.27", 12, 64),
  container("api", "registry:5000/node:22", 4, 256),
  container("redis", "redis:7", 0.5, 8),
  node("in-theinternet", {
    label: "The Internet",
    metrics: [{ id: "cpu", label: "CPU", valueEmpty: true, value: 0 }],
  }),
]);

test("a search finds what its words say", () => {
  const cases: [string, string[] | null][] = [
    ["", null],
    ["   ", null],
    ["web", ["web"]],
    ["WEB", ["web"]],
    ["internet", ["in-theinternet"]],
    ["team-api", ["api"]],
    ["tokyo", ["web", "api", "redis"]],
    ["tokyo redis", ["redis"]],
    ["web or redis", ["web", "redis"]],
    ["tokyo -redis", ["web", "api"]],
    ["tokyo and not redis", ["web", "api"]],
    ['"the internet"', ["in-theinternet"]],
    ["w.b", []],
    ["^(web|api)$", ["web", "api"]],
    ["(web", []],
    ["imagename: redis", ["redis"]],
    ["imagename:redis web", []],
    ["image: nginx", ["web"]],
    ["i: nginx", []],
    ["dockerlabels: team-web", ["web"]],
    ["host: tokyo", ["web", "api", "redis"]],
    ["name: net", ["in-theinternet"]],
    // No field is called so: text with a colon.
    ["nginx:1.27", ["web"]],
    ["registry:5000/node:22", ["api"]],
    ["10.0.0.3", ["web", "api"]],
    ["cpu > 4%", ["web"]],
    ["cpu>3 memory > 100m", ["api"]],
    ["cpu < 1", ["redis"]],
    ["memory = 64mb", ["web"]],
    ["mem < 0.1g", ["web", "redis"]],
    ["cpu > lots", []],
    ["or", null],
    ["-", ["web", "api", "redis"]],
  ];
  for (const [query, want] of cases) {
    const found = search(NODES, query);
    expect(found && [...found], query).toEqual(want);
  }
});

test("quantities have units", () => {
  const cases: [string, number | null][] = [
    ["4", 4],
    ["4%", 4],
    ["1.5k", 1536],
    ["10mb", 10 * MIB],
    ["2GiB", 2 * 1024 * MIB],
    ["-3", -3],
    ["3b", 3],
    ["", null],
    ["k", null],
    ["1.2.3", null],
  ];
  for (const [text, want] of cases) expect(parseQuantity(text), text).toBe(want);
});
