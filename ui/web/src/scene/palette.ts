/** Colours of the map. Those of the page around it are in `app.css`; the two are kept in step by hand. */

export type ThemeName = "light" | "dark";

export interface Palette {
  background: string;
  /** The dots of the map's ground. */
  ground: string;
  /** Inside of a node, before its tint. */
  surface: string;
  text: string;
  muted: string;
  edge: string;
  /** Edges by weight, from `edge` on: one hue that only gains contrast, told apart with colour-blind eyes. */
  weights: readonly string[];
  /** Selection, focus, and the edges of what is looked at. */
  accent: string;
  /** Ring around what a search found. */
  found: string;
  /** Nodes that stand for something outside. */
  neutral: string;
  /** Colours of groups; all at least 3:1 on the background and told apart with colour-blind eyes. */
  groups: readonly string[];
  /** How strongly a group's colour tints the inside of its nodes. */
  tint: number;
  shadow: string;
}

export const PALETTES: Readonly<Record<ThemeName, Palette>> = {
  light: {
    background: "#f7f8fa",
    ground: "#dfe3ea",
    surface: "#ffffff",
    text: "#1b2030",
    muted: "#5b6478",
    edge: "#8a8fa3",
    weights: ["#8a8fa3", "#7a8094", "#676d82", "#535a70", "#3f465c"],
    accent: "#3d50df",
    found: "#b45309",
    neutral: "#737b8f",
    groups: ["#3d50df", "#0a7f8f", "#b3540a", "#8a2fb0", "#3f7d1f", "#c2255c", "#0a78d1"],
    tint: 0.1,
    shadow: "rgba(27, 32, 48, 0.14)",
  },
  dark: {
    background: "#0d1119",
    ground: "#1d2433",
    surface: "#151b27",
    text: "#e6e9f0",
    muted: "#9aa4b8",
    edge: "#6b7489",
    weights: ["#6b7489", "#7d869c", "#929bb1", "#a9b2c7", "#c1cadd"],
    accent: "#8ea2ff",
    found: "#f5b454",
    neutral: "#8a94a9",
    groups: ["#8ea2ff", "#3ecfc0", "#f0954a", "#d08bf2", "#a3cf5a", "#f77fa8", "#5fb8ff"],
    tint: 0.18,
    shadow: "rgba(0, 0, 0, 0.5)",
  },
};

/** Ranks remembered at most; a page that has seen more begins anew. */
const RANKS_MAX = 4096;

/**
 * Which colour each rank has: by its hash, or the next one that no other rank has while there are such. A rank keeps
 * its colour as long as the page is open.
 */
export class ColourBook {
  private readonly indexes = new Map<string, number>();
  private readonly uses: number[];

  constructor(private readonly colours: number) {
    this.uses = Array<number>(colours).fill(0);
  }

  indexOf(rank: string): number {
    const known = this.indexes.get(rank);
    if (known !== undefined) return known;
    if (this.indexes.size >= RANKS_MAX) {
      this.indexes.clear();
      this.uses.fill(0);
    }
    const least = Math.min(...this.uses);
    let index = hash(rank) % this.colours;
    while ((this.uses[index] ?? 0) > least) index = (index + 1) % this.colours;
    this.uses[index] = (this.uses[index] ?? 0) + 1;
    this.indexes.set(rank, index);
    return index;
  }
}

/** FNV-1a, 32 bits. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  return value >>> 0;
}
