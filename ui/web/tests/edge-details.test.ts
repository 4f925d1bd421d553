import { fireEvent, render, screen, within } from "@testing-library/svelte";
import { expect, test, vi } from "vitest";
import { parseEdge } from "../src/model/edges";
import EdgeDetails from "../src/panels/EdgeDetails.svelte";

const NOW = Date.parse("2026-11-22T10:00:00Z");

function show(fields: Record<string, unknown>, onopen = vi.fn()) {
  const edge = parseEdge({ source: { id: "w", label: "web" }, target: { id: "d", label: "db" }, ...fields });
  if (!edge) throw new Error("no edge");
  render(EdgeDetails, { edge, nowMs: NOW, onopen });
  return onopen;
}

const relation = (port: number, fields: Record<string, unknown> = {}) => ({
  protocol: "tcp",
  port,
  client: { label: `curl (${port})`, host: "alpha", node: `p;${port}`, topology: "processes" },
  server: { label: "postgres", host: "beta" },
  open: port,
  ...fields,
});

test("figures are shown where they are known", () => {
  show({
    open: 3,
    opened: 120,
    sent: 1200,
    received: 53_000,
    rttMicros: 180,
    retransmits: 0,
    seenBy: ["eBPF"],
  });
  for (const text of ["1.17 KB/s", "51.8 KB/s", "0.18 ms", "↑ To db", "↓ From db", "120", "eBPF"])
    expect(screen.getByText(text), text).toBeTruthy();
  expect(screen.getByText("Confirmed: both ends tell of it.")).toBeTruthy();
});

test("what nobody knows is not shown as nothing", () => {
  show({});
  expect(document.querySelectorAll(".tile").length).toBe(0);
  expect(document.querySelectorAll("section").length).toBe(0);
});

test("one side alone, and what fades, say so and why", () => {
  const internet = { label: "The Internet", node: "out-theinternet", topology: "hosts" };
  const of = (...servers: object[]) => ({
    confirmed: false,
    relations: servers.map((server) => relation(443, { server, confirmed: false })),
  });
  const stale = (state: string) => ({ fading: true, stale: { state, since: "2026-11-22T09:59:00Z" } });
  const cases: [Record<string, unknown>, RegExp][] = [
    [{ confirmed: false }, /the other end's host runs no scope/],
    [of(internet), /the other end is outside this mesh/],
    // As a host's own processes, which are a pseudo node too.
    [of({ label: "sshd (50)", host: "beta" }), /the other end's host runs no scope/],
    [of(internet, { label: "sshd (50)", host: "beta" }), /the other end's host runs no scope/],
    [{ fading: true, lastSeen: "2026-11-22T09:59:48Z" }, /^Last seen 12 s ago: it goes/],
    [{ fading: true }, /^Last seen some time ago/],
    [stale("suspect"), /have not been heard of for 1 min: busy/],
    [stale("gone"), /have not been heard of for 1 min: down/],
  ];
  for (const [fields, want] of cases) {
    show(fields);
    expect(screen.getByText(want), String(want)).toBeTruthy();
    expect(screen.queryByText(/it goes/) !== null).toBe(fields["fading"] === true && !fields["stale"]);
    document.body.innerHTML = "";
  }
});

test("relations are sorted by what is open, five at first, and lead to their nodes", async () => {
  const onopen = show({ relations: [1, 7, 3, 5, 2, 6, 4].map((port) => relation(port)) });
  const table = screen.getByRole("table", { name: "Connections" });
  const clients = (): string[] =>
    within(table)
      .getAllByRole("rowheader")
      .map((cell) => /\d+/.exec(cell.textContent)?.[0] ?? "");
  expect(clients()).toEqual(["7", "6", "5", "4", "3"]);
  await fireEvent.click(screen.getByRole("button", { name: "Show 2 more" }));
  expect(clients().length).toBe(7);
  await fireEvent.click(within(table).getByRole("button", { name: "Port" }));
  expect(clients()[0]).toBe("1");
  await fireEvent.click(within(table).getByRole("button", { name: "curl (1)" }));
  expect(onopen).toHaveBeenCalledWith({ topologyId: "processes", id: "p;1" });
  expect(within(table).queryByRole("button", { name: "postgres" })).toBeNull();
});

test("a relation says what stands between its ends, and who tells of it", () => {
  show({
    relations: [
      relation(80, {
        address: "172.18.0.3",
        name: "db.example.com",
        via: "10.0.0.2:8080",
        masquerade: "10.0.0.1",
        confirmed: false,
        toldBy: ["alpha"],
        retransmits: 1,
      }),
    ],
  });
  const note = screen.getByText(/^db\.example\.com 172\.18\.0\.3/).textContent;
  expect(note).toBe(
    "db.example.com 172.18.0.3 · by way of 10.0.0.2:8080 · seen there as 10.0.0.1 · 1 retransmit · told by alpha only",
  );
});
