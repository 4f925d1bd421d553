/** The peer's clock, as this browser can tell it: ages of what the peer says must not depend on the browser's own. */

/** Differences below this are put down to the way an answer takes. */
const TOLERANCE_MS = 1500;

/**
 * How far the peer's clock is ahead of this one, after an answer that was written at `peerMs` came at `nowMs`. Stays
 * what it was while the two agree about it.
 */
export function aheadOf(beforeMs: number, peerMs: number, nowMs: number): number {
  const aheadMs = peerMs - nowMs;
  if (!Number.isFinite(aheadMs) || Math.abs(aheadMs - beforeMs) <= TOLERANCE_MS) return beforeMs;
  return Math.abs(aheadMs) <= TOLERANCE_MS ? 0 : aheadMs;
}
