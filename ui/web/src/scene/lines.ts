/** How an edge's figures show in its line: thickness and strength by what it carries, paler as it fades. */
import { traffic, type Figures } from "../model/edges";
import type { Lines } from "../model/url";

/**
 * Where each weight begins: equal steps of a logarithmic scale. Fixed, not relative to the map: a line that gets
 * thicker carries more, whatever the others do.
 */
export const STEPS: Readonly<Record<Exclude<Lines, "plain">, readonly number[]>> = {
  connections: [1, 10, 100, 1000],
  /** Bytes per second: 1 KB, 32 KB, 1 MB, 32 MB. */
  traffic: [2 ** 10, 2 ** 15, 2 ** 20, 2 ** 25],
};

/** Weights are 0 to 4. */
export const WEIGHTS = 5;

/** Pixels at zoom 1, by weight. */
const WIDTHS = [1, 1.8, 2.8, 3.9, 5];

/** An edge's weight: 0 where its figure is not known or below the first step. */
export function weightOf(figures: Figures | undefined, lines: Lines): number {
  if (!figures || lines === "plain") return 0;
  const value = lines === "connections" ? figures.open : traffic(figures);
  if (value === null) return 0;
  let weight = 0;
  while (weight < WEIGHTS - 1 && value >= (STEPS[lines][weight] ?? Infinity)) weight += 1;
  return weight;
}

/** The line's width in pixels. Zoomed out it shrinks, but the weights stay apart. */
export function widthOf(weight: number, zoom: number): number {
  return (WIDTHS[weight] ?? 1) * Math.min(1.3, Math.max(0.6, zoom));
}

/** All that decides how a line is drawn, as one small number: edges of one style are drawn with one stroke. */
export type Style = number;

const ONE_SIDED = 8;
const FADING = 16;

export const STYLES = 32;

/** The style of an edge nothing is known of: as if nobody told figures. */
export const PLAIN: Style = 0;

export function styleOf(figures: Figures | undefined, lines: Lines): Style {
  const marks = (figures?.confirmed === false ? ONE_SIDED : 0) + (figures?.fading ? FADING : 0);
  return marks + weightOf(figures, lines);
}

export function weightIn(style: Style): number {
  return style % ONE_SIDED;
}

export function isOneSided(style: Style): boolean {
  return (style & ONE_SIDED) !== 0;
}

export function isFading(style: Style): boolean {
  return (style & FADING) !== 0;
}
