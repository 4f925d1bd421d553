/** Addresses of the peer's API and how to ask it. All are relative to the page, so any path prefix works. */
import type { Card } from "../model/url";

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
export function detailUrl(page: string, card: Card, options: Options): string {
  const path = `api/topology/${encodeURIComponent(card.topologyId)}/${encodeURIComponent(card.id)}`;
  const url = new URL(path, page);
  url.search = query(options, {});
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
  | { type: "ok"; body: unknown }
  | { type: "missing" }
  /** The peer answered, but not with what was asked for. */
  | { type: "failed" }
  | { type: "unreachable" };

/** A peer that has not answered by then is treated as gone. */
const TIMEOUT_MS = 10_000;

/** Asks once. Never throws: a peer that cannot be reached is an answer too. */
export async function get(url: string, signal: AbortSignal): Promise<Answer> {
  try {
    const response = await fetch(url, { signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]) });
    if (response.status === 404) return { type: "missing" };
    if (!response.ok) return { type: "failed" };
    return { type: "ok", body: (await response.json()) as unknown };
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
