import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { detailUrl, feedUrl } from "../src/net/api";
import { Feed, retryDelayMs } from "../src/net/socket";

class FakeSocket {
  static all: FakeSocket[] = [];
  onopen: (() => void) | null = null;
  onclose: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;

  constructor(readonly url: string) {
    FakeSocket.all.push(this);
  }

  close(): void {
    this.onclose?.();
  }
}

const last = (): FakeSocket => FakeSocket.all.at(-1) as FakeSocket;

beforeEach(() => {
  FakeSocket.all = [];
  vi.useFakeTimers();
  vi.stubGlobal("WebSocket", FakeSocket);
  vi.spyOn(Math, "random").mockReturnValue(0);
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

function feed(): { feed: Feed; log: unknown[] } {
  const log: unknown[] = [];
  const made = new Feed("ws://peer/api", {
    onUp: () => log.push("up"),
    onLost: (retryAtMs) => log.push(`lost, ${retryAtMs - Date.now()} ms`),
    onMessage: (message) => log.push(message),
  });
  return { feed: made, log };
}

test("a feed reconnects with growing pauses until it is up again", () => {
  const { log } = feed();
  last().onopen?.();
  last().onmessage?.({ data: '{"add":[]}' });
  last().close();
  vi.advanceTimersByTime(1000);
  last().close();
  vi.advanceTimersByTime(2000);
  last().onopen?.();
  last().close();
  expect(log).toEqual(["up", { add: [] }, "lost, 1000 ms", "lost, 2000 ms", "up", "lost, 1000 ms"]);
  expect(FakeSocket.all.length).toBe(3);
});

test("what cannot be read begins the feed anew", () => {
  const { log } = feed();
  last().onopen?.();
  last().onmessage?.({ data: "{" });
  vi.advanceTimersByTime(1000);
  expect(log).toEqual(["up", "lost, 1000 ms"]);
  expect(FakeSocket.all.length).toBe(2);
});

test("a closed feed is silent and stays closed", () => {
  const { feed: made, log } = feed();
  const socket = last();
  made.close();
  socket.onopen?.();
  socket.onmessage?.({ data: "{}" });
  made.retryNow();
  vi.advanceTimersByTime(60_000);
  expect(log).toEqual([]);
  expect(FakeSocket.all.length).toBe(1);
});

test("retrying at once does not leave the old try behind", () => {
  const { feed: made } = feed();
  last().close();
  made.retryNow();
  vi.advanceTimersByTime(60_000);
  expect(FakeSocket.all.length).toBe(2);
});

test("pauses grow to a bound, with jitter below it", () => {
  const cases: [number, number, number][] = [
    [0, 0, 1000],
    [1, 0, 2000],
    [3, 0, 8000],
    [4, 0, 10_000],
    [1000, 0, 10_000],
    [4, 1, 8000],
  ];
  for (const [attempt, random, want] of cases) expect(retryDelayMs(attempt, random)).toBe(want);
});

test("addresses are relative to the page, whatever the id holds", () => {
  const card = { topologyId: "hosts", id: "a;<b>/c?d" };
  const cases: [string, string, string][] = [
    [
      "http://h:4040/",
      "ws://h:4040/api/topology/hosts/ws?t=2s&o=1",
      "http://h:4040/api/topology/hosts/a%3B%3Cb%3E%2Fc%3Fd?o=1",
    ],
    [
      "https://h/scope/#/x",
      "wss://h/scope/api/topology/hosts/ws?t=2s&o=1",
      "https://h/scope/api/topology/hosts/a%3B%3Cb%3E%2Fc%3Fd?o=1",
    ],
    [
      "http://h/p/index.html",
      "ws://h/p/api/topology/hosts/ws?t=2s&o=1",
      "http://h/p/api/topology/hosts/a%3B%3Cb%3E%2Fc%3Fd?o=1",
    ],
  ];
  for (const [page, socket, details] of cases) {
    expect(feedUrl(page, "hosts", { o: "1" })).toBe(socket);
    expect(detailUrl(page, card, { o: "1" })).toBe(details);
  }
});
