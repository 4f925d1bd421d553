import { afterEach, expect, test, vi } from "vitest";
import { edgeUrl, figuresUrl, get } from "../src/net/api";

const PAGE = "http://peer/tools/#/containers";
const SIGNAL = new AbortController().signal;

afterEach(() => vi.unstubAllGlobals());

test("ids are one segment each, whatever they hold", () => {
  const card = { topologyId: "containers", source: "a/b;<container>", target: "in-theinternet" };
  expect(edgeUrl(PAGE, card, { system: "all" })).toBe(
    "http://peer/tools/api/edge/a%2Fb%3B%3Ccontainer%3E/in-theinternet?system=all&topology=containers",
  );
  expect(figuresUrl(PAGE, "containers", { stopped: "both" })).toBe(
    "http://peer/tools/api/topology/containers/edges?t=2s&stopped=both",
  );
});

test("an answer is known again by its ETag", async () => {
  const asked: (string | undefined)[] = [];
  vi.stubGlobal("fetch", (_url: string, { headers }: { headers: Record<string, string> }) => {
    asked.push(headers["If-None-Match"]);
    return Promise.resolve(
      headers["If-None-Match"] === '"1"'
        ? new Response(null, { status: 304 })
        : new Response('{"edges":[]}', { headers: { etag: '"1"' } }),
    );
  });
  const first = await get("http://peer/", SIGNAL);
  expect(first).toEqual({ type: "ok", body: { edges: [] }, etag: '"1"' });
  expect(await get("http://peer/", SIGNAL, '"1"')).toEqual({ type: "same" });
  expect(asked).toEqual([undefined, '"1"']);
});

test("whatever a peer answers is an answer", async () => {
  const cases: [() => Response, string][] = [
    [() => new Response("{}"), "ok"],
    [() => new Response("no JSON"), "failed"],
    [() => new Response("", { status: 404 }), "missing"],
    [() => new Response("", { status: 503 }), "failed"],
    [
      () => {
        throw new TypeError("no route");
      },
      "unreachable",
    ],
  ];
  for (const [answer, want] of cases) {
    vi.stubGlobal("fetch", () => Promise.resolve().then(answer));
    expect((await get("http://peer/", SIGNAL)).type).toBe(want);
  }
});
