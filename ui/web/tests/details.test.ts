import { fireEvent, render, screen, within } from "@testing-library/svelte";
import { expect, test, vi } from "vitest";
import { parseDetail, type NodeDetail } from "../src/model/protocol";
import Details from "../src/panels/Details.svelte";

const NOW = Date.parse("2026-11-22T10:00:00Z");

function detail(fields: Record<string, unknown>): NodeDetail {
  const parsed = parseDetail({ node: { id: "web", label: "web", ...fields } });
  if (!parsed) throw new Error("no node");
  return parsed;
}

function show(fields: Record<string, unknown>, onopen = vi.fn()) {
  render(Details, { node: detail(fields), nowMs: NOW, onopen });
  return onopen;
}

const processes = Array.from({ length: 8 }, (_, i) => ({
  id: `p${i}`,
  label: `worker-${i}`,
  metadata: [{ id: "pid", label: "PID", value: String(100 - i) }],
  metrics: [{ id: "cpu", label: "CPU", format: "percent", value: i }],
}));

const CHILDREN = [
  {
    topologyId: "processes",
    label: "Processes",
    columns: [
      { id: "pid", label: "PID", dataType: "number" },
      { id: "cpu", label: "CPU", dataType: "number", defaultSort: true },
    ],
    nodes: processes,
  },
];

test("metadata is formatted, and the less important shown on demand", async () => {
  show({
    metadata: [
      { id: "id", label: "ID", value: "abcdef0123456789", priority: 10, truncate: 12 },
      { id: "up", label: "Uptime", value: "7384", dataType: "duration", priority: 1 },
      { id: "created", label: "Created", value: "2026-11-22T09:00:00Z", dataType: "datetime", priority: 2 },
    ],
  });
  expect(screen.getByText("2h 3m")).toBeTruthy();
  expect(screen.getByText("1h ago")).toBeTruthy();
  expect(screen.queryByText("ID")).toBeNull();
  await fireEvent.click(screen.getByRole("button", { name: "Show 1 more" }));
  expect(screen.getByText("abcdef01234…")).toBeTruthy();
  await fireEvent.click(screen.getByRole("button", { name: "Show less" }));
  expect(screen.queryByText("ID")).toBeNull();
});

test("metrics show their value and a sparkline of their samples", () => {
  const samples = [0, 2, 4].map((s) => ({ date: new Date(NOW + s * 1000).toISOString(), value: s * 10 }));
  show({
    metrics: [
      {
        id: "memory",
        label: "Memory",
        format: "filesize",
        value: 189 * 1024 * 1024,
        priority: 2,
        samples: null,
      },
      { id: "cpu", label: "CPU", format: "percent", value: 40, priority: 1, samples },
      { id: "gone", label: "Open files", value: 0, valueEmpty: true, priority: 3 },
    ],
  });
  expect(screen.getByText("40 %")).toBeTruthy();
  expect(screen.getByText("189 MB")).toBeTruthy();
  expect(screen.getByText("no value")).toBeTruthy();
  expect(screen.getAllByRole("img").map((image) => image.getAttribute("aria-label"))).toEqual([
    "CPU, last two minutes: 0 % to 40 %",
  ]);
});

test("children are sorted by the declared column, five at first, and lead to their nodes", async () => {
  const onopen = show({ children: CHILDREN });
  const table = screen.getByRole("table", { name: "Processes" });
  const names = (): (string | null)[] =>
    within(table)
      .getAllByRole("rowheader")
      .map((cell) => cell.textContent.trim());
  expect(names()).toEqual(["worker-7", "worker-6", "worker-5", "worker-4", "worker-3"]);
  await fireEvent.click(screen.getByRole("button", { name: "Show 3 more" }));
  expect(names().length).toBe(8);
  await fireEvent.click(within(table).getByRole("button", { name: "Name" }));
  expect(names()[0]).toBe("worker-0");
  await fireEvent.click(within(table).getByRole("button", { name: "PID" }));
  expect(names()[0]).toBe("worker-0");
  await fireEvent.click(within(table).getByRole("button", { name: "PID" }));
  expect(names()[0]).toBe("worker-7");
  await fireEvent.click(within(table).getByRole("button", { name: "worker-3" }));
  expect(onopen).toHaveBeenCalledWith({ topologyId: "processes", id: "p3" });
});

test("connections link to their nodes, and to nothing where there is none", async () => {
  const onopen = show({
    connections: [
      {
        id: "incoming-connections",
        topologyId: "containers",
        label: "Inbound",
        columns: [
          { id: "port", label: "Port", dataType: "number" },
          { id: "name", label: "DNS name" },
        ],
        more: 5,
        connections: [
          { id: "c1", nodeId: "client", label: "client", metadata: [{ id: "port", value: "80" }] },
          { id: "c2", nodeId: "", label: "198.51.100.7", metadata: [] },
        ],
      },
      { id: "outgoing-connections", topologyId: "containers", label: "Outbound", connections: null },
    ],
  });
  expect(screen.getByRole("cell", { name: "80" })).toBeTruthy();
  expect(screen.queryByRole("button", { name: "198.51.100.7" })).toBeNull();
  expect(screen.queryByText("Outbound")).toBeNull();
  expect(screen.getByText("5 more connections are not listed.")).toBeTruthy();
  await fireEvent.click(screen.getByRole("button", { name: "client" }));
  expect(onopen).toHaveBeenCalledWith({ topologyId: "containers", id: "client" });
  await fireEvent.click(screen.getByRole("button", { name: "Connections with client" }));
  expect(onopen).toHaveBeenLastCalledWith({ topologyId: "containers", source: "client", target: "web" });
  expect(screen.queryByRole("button", { name: /^Connections with 198/ })).toBeNull();
});

test("tables show properties or columns, and say what was left out", () => {
  show({
    tables: [
      {
        id: "labels",
        label: "Docker labels",
        type: "property-list",
        rows: [{ id: "r", entries: { label: "team", value: "core" } }],
        truncationCount: 3,
      },
      {
        id: "peers",
        label: "Peers",
        type: "multicolumn-table",
        columns: [{ id: "size", label: "Size", dataType: "filesize" }],
        rows: [{ id: "s", entries: { size: "2048" } }],
      },
      { id: "none", label: "Nothing", type: "property-list", rows: null },
    ],
  });
  expect(screen.getByText("core")).toBeTruthy();
  expect(screen.getByText("3 rows were left out by the host.")).toBeTruthy();
  expect(screen.getByRole("cell", { name: "2 KB" })).toBeTruthy();
  expect(screen.queryByText("Nothing")).toBeNull();
});

test("a node of which nothing is known shows nothing and does not fail", () => {
  show({});
  expect(document.querySelectorAll("section").length).toBe(0);
});
