/**
 * The mesh as the peer sees it: `GET api/peers`, checked on arrival, and how it is read. All times are of the peer's
 * clock.
 */
import { count, fields, identified, list, nonEmptyText, number, text } from "./parse";

export type Life = "live" | "suspect" | "gone";

export interface MeshLink {
  address: string;
  incoming: boolean;
  /** `null` until it was measured. */
  rttMs: number | null;
  bytesIn: number;
  bytesOut: number;
}

export interface MeshPeer {
  id: string;
  host: string;
  addresses: string[];
  agent: string;
  life: Life;
  heardAtMs: number;
  /** Versions of its facts that exist and are not with the peer that answers. */
  lag: number;
  /** `null` where other peers pass its facts on. */
  link: MeshLink | null;
  isSelf: boolean;
}

export interface DiscoveredName {
  name: string;
  state: string;
  addresses: string[];
}

export interface Mesh {
  open: boolean;
  listen: string[];
  problems: string[];
  names: DiscoveredName[];
  /** As the peer orders them: itself, then the live ones. */
  peers: MeshPeer[];
}

/** How many peers there are of each life, the one that answers included. */
export type Lives = Readonly<Record<Life, number>>;

export const NO_LIVES: Lives = { live: 0, suspect: 0, gone: 0 };

export function parseLives(raw: unknown): Lives {
  const f = fields(raw) ?? {};
  return { live: count(f["live"]), suspect: count(f["suspect"]), gone: count(f["gone"]) };
}

/** A life this page does not know is silence of some kind. */
export function parseLife(raw: unknown): Life {
  return raw === "live" || raw === "gone" ? raw : "suspect";
}

function parseLink(raw: unknown): MeshLink | null {
  const f = fields(raw);
  return (
    f && {
      address: text(f["address"]),
      incoming: f["direction"] === "incoming",
      rttMs: typeof f["rttMs"] === "number" ? f["rttMs"] : null,
      bytesIn: number(f["bytesIn"]),
      bytesOut: number(f["bytesOut"]),
    }
  );
}

const parseName = identified("name", (f, name): DiscoveredName => ({
  name,
  state: text(f["state"]),
  addresses: list(f["addresses"], nonEmptyText),
}));

/** `GET api/peers`, or `null` if it is no object. */
export function parseMesh(raw: unknown): Mesh | null {
  const f = fields(raw);
  if (!f) return null;
  const own = fields(f["mesh"]) ?? {};
  const atMs = Date.parse(text(f["time"])) || 0;
  const parsePeer = identified("id", (p, id): MeshPeer => ({
    id,
    host: text(p["host"]),
    addresses: list(p["addresses"], nonEmptyText),
    agent: text(p["agent"]),
    life: parseLife(p["life"]),
    heardAtMs: atMs - number(p["lastHeardMs"]),
    lag: count(p["lag"]),
    link: parseLink(p["link"]),
    isSelf: p["isSelf"] === true,
  }));
  return {
    open: own["open"] === true,
    listen: list(own["listen"], nonEmptyText),
    problems: list(own["problems"], nonEmptyText),
    names: list(f["discovery"], parseName),
    peers: list(f["peers"], parsePeer),
  };
}

/** The end of a peer's id: all begin alike. */
export function shortId(id: string): string {
  return `…${id.slice(-6)}`;
}

/** What a peer runs, without the program's name. */
export function versionOf(agent: string): string {
  return agent.replace(/^scope\//, "");
}
