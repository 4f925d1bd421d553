/** Addresses of the peer's API and how to ask it. All are relative to the page, so any path prefix works. */
import type { EdgeCard, NodeCard } from "../model/url";

/** How often metrics alone may arrive. Changes of nodes and edges come at once. */
const METRICS_EVERY = "2s";

export type Options = Readonly<Record<string, string>>;

/** The WebSocket of a topology. */
export function feedUrl(page: string, topologyId: string, options: Options): string {
  const url = new URL(`api/topology/${encodeURIComponent(topologyId)}/ws`, page);
  url.search = query(options, { t: METRICS_EVERY });
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.hash = "";
  return url.href;
}

/** One node's details. Its id may hold `/`, `;` and `<`. */
export function detailUrl(page: string, card: NodeCard, options: Options): string {
  const path = `api/topology/${encodeURIComponent(card.topologyId)}/${encodeURIComponent(card.id)}`;
  const url = new URL(path, page);
  url.search = query(options, {});
  url.hash = "";
  return url.href;
}

/** Everything about the connections between two nodes. */
export function edgeUrl(page: string, card: EdgeCard, options: Options): string {
  const path = `api/edge/${encodeURIComponent(card.source)}/${encodeURIComponent(card.target)}`;
  const url = new URL(path, page);
  url.search = query({ topology: card.topologyId }, options);
  url.hash = "";
  return url.href;
}

/** Light figures of all edges of a topology. */
export function figuresUrl(page: string, topologyId: string, options: Options): string {
  const url = new URL(`api/topology/${encodeURIComponent(topologyId)}/edges`, page);
  url.search = query(options, { t: METRICS_EVERY });
  url.hash = "";
  return url.href;
}

/**
 * All topologies, with their figures for the options of the one that is shown. A query without any parameter would get
 * figures of views that leave nothing out.
 */
export function topologiesUrl(page: string, options: Options): string {
  const url = new URL("api/topology", page);
  url.search = query(options, { t: METRICS_EVERY });
  url.hash = "";
  return url.href;
}

/** A path below the page, such as `api/probes`. */
export function pathUrl(page: string, path: string): string {
  return new URL(path, page).href;
}

export type Answer =
  | { type: "ok"; body: unknown; etag: string }
  /** As it was when the peer gave it the ETag asked with. */
  | { type: "same" }
  | { type: "missing" }
  /** The peer answered, but not with what was asked for. */
  | { type: "failed" }
  | { type: "unreachable" };

/** A peer that has not answered by then is treated as gone. */
const TIMEOUT_MS = 10_000;

/**
 * Asks once; with the ETag of an earlier answer, for news only. Never throws: a peer that cannot be reached is an
 * answer too.
 */
export async function get(url: string, signal: AbortSignal, etag = ""): Promise<Answer> {
  try {
    const response = await fetch(url, {
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
      // The peer forbids storing its answers, so the browser asks nothing of this kind by itself.
      headers: etag === "" ? {} : { "If-None-Match": etag },
    });
    if (response.status === 304) return { type: "same" };
    if (response.status === 404) return { type: "missing" };
    if (!response.ok) return { type: "failed" };
    const body = (await response.json()) as unknown;
    return { type: "ok", body, etag: response.headers.get("etag") ?? "" };
  } catch (error) {
    return { type: error instanceof SyntaxError ? "failed" : "unreachable" };
  }
}

/** Runs `ask` now and then every `everyMs`, one at a time, while the page is visible. Returns how to stop it. */
export function poll(everyMs: number, ask: (signal: AbortSignal) => Promise<void>): () => void {
  const off = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let asking = false;
  const run = async (): Promise<void> => {
    clearTimeout(timer);
    if (asking || document.hidden || off.signal.aborted) return;
    asking = true;
    await ask(off.signal);
    asking = false;
    if (!off.signal.aborted) timer = setTimeout(() => void run(), everyMs);
  };
  document.addEventListener("visibilitychange", () => void run(), { signal: off.signal });
  void run();
  return () => {
    off.abort();
    clearTimeout(timer);
  };
}

function query(options: Options, more: Options): string {
  return new URLSearchParams({ ...more, ...options }).toString();
}
