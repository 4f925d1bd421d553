/** How a node presents itself beyond its name: whether it runs and is heard of, and whether it stands for several. */
import { formatAge } from "./format";
import type { NodeSummary, Stale } from "./protocol";

export type Standing = "running" | "paused" | "stopped";

export interface Face {
  standing: Standing;
  /** The state in a word or two, when it is worth saying: of what does not run. */
  word: string;
  /** Whether its hosts are silent: what it shows is how it was. */
  stale: Stale["state"] | null;
  /** For how long they are; empty of what is heard of. */
  age: string;
  /** The minor label with that word; before both, where nothing cuts it off, how old all of it is. */
  minor: string;
  /** Drawn as a stack: it stands for more than one. */
  stack: boolean;
}

const STATE_ROW = "docker_container_state_human";

/** States of what runs. Docker's own phrase ("Up 2 hours (Paused)") counts by its words. */
const RUNNING = /^(running|restarting|up)\b/;

/** A group of one: "1 container". */
const ONE_MEMBER = /^1 (process|container)$/;

type Subject = Pick<NodeSummary, "labelMinor" | "stack" | "metadata" | "stale">;

/** A node's face at `nowMs` of the peer's clock. */
export function faceOf(node: Subject, nowMs: number): Face {
  const state = (node.metadata.find((row) => row.id === STATE_ROW)?.value ?? "").trim().toLowerCase();
  const standing = standingOf(state);
  const word = standing === "running" ? "" : state;
  const age = node.stale ? formatAge(nowMs - node.stale.sinceMs) : "";
  return {
    standing,
    word,
    stale: node.stale?.state ?? null,
    age,
    minor: [age && `${age} ago`, node.labelMinor, word].filter((part) => part !== "").join(" · "),
    stack: node.stack && !ONE_MEMBER.test(node.labelMinor),
  };
}

function standingOf(state: string): Standing {
  if (/\bpaused\b/.test(state)) return "paused";
  return state === "" || RUNNING.test(state) ? "running" : "stopped";
}
