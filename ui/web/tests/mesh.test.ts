import { expect, test } from "vitest";
import { aheadOf } from "../src/model/clock";
import { NO_LIVES, parseLives, parseMesh, shortId, versionOf } from "../src/model/mesh";
import { INITIAL, reduce } from "../src/model/state";
import { parsePeer } from "../src/model/protocol";

const NOW = Date.parse("2026-11-22T09:30:00Z");

test("peers are read with the time they were heard of, and links only where there are some", () => {
  const mesh = parseMesh({
    time: "2026-11-22T09:30:00Z",
    mesh: { open: true, listen: ["0.0.0.0:4030"], epoch: 2, version: 7, problems: ["a twin", 7] },
    discovery: [{ name: "scope.weave.local", state: "no such name", addresses: null }, { state: "nameless" }],
    peers: [
      { id: "12D3KooWabcdef", host: "a", agent: "scope/0.1.0", life: "live", lastHeardMs: 0, isSelf: true },
      {
        id: "b",
        life: "gone",
        lastHeardMs: 120_000,
        lag: 3,
        addresses: ["192.0.2.7:4030"],
        link: { address: "192.0.2.7:4030", direction: "incoming", rttMs: null, bytesIn: 10, bytesOut: 20 },
      },
      { id: "c", life: "resting", link: null, lag: -1 },
      { host: "no id" },
    ],
  });
  expect(mesh).toMatchObject({
    open: true,
    listen: ["0.0.0.0:4030"],
    problems: ["a twin", "7"],
    names: [{ name: "scope.weave.local", addresses: [] }],
  });
  const rows = mesh?.peers.map(({ host, life, heardAtMs, lag, link, isSelf }) => [
    host,
    life,
    NOW - heardAtMs,
    lag,
    link && [link.incoming, link.rttMs, link.bytesIn],
    isSelf,
  ]);
  expect(rows).toEqual([
    ["a", "live", 0, 0, null, true],
    ["", "gone", 120_000, 3, [true, null, 10], false],
    ["", "suspect", 0, 0, null, false],
  ]);
  expect(parseMesh("x")).toBeNull();
  expect(parseMesh({})).toMatchObject({ open: false, listen: [], problems: [], names: [], peers: [] });
});

test("lives are counted as the peer says, and not at all where it says nothing", () => {
  expect(parseLives({ live: 3, suspect: "1", gone: 1.5, undead: 9 })).toEqual({
    live: 3,
    suspect: 1,
    gone: 1,
  });
  for (const raw of [undefined, null, [], "x"]) expect(parseLives(raw)).toEqual(NO_LIVES);
});

test("ids and versions are short", () => {
  expect(shortId("12D3KooWabcdef")).toBe("…abcdef");
  expect(["scope/0.1.0", "other/2", ""].map(versionOf)).toEqual(["0.1.0", "other/2", ""]);
});

test("the peer's clock counts, and the way an answer takes does not move it", () => {
  const hour = 3_600_000;
  const cases: [string, number, number, number][] = [
    ["they agree", 0, NOW - 300, 0],
    ["an hour ahead", 0, NOW + hour, hour],
    ["an hour behind", 0, NOW - hour, -hour],
    ["ahead as before, a slower answer", hour, NOW + hour - 900, hour],
    ["set right", hour, NOW + 20, 0],
    ["does not say", hour, NaN, hour],
  ];
  for (const [what, before, peerMs, want] of cases) expect(aheadOf(before, peerMs, NOW), what).toBe(want);
  const peer = parsePeer({ id: "p", time: new Date(NOW + hour).toISOString() });
  if (!peer) throw new Error("no peer");
  expect(reduce(INITIAL, { type: "peer", peer, atMs: NOW }).aheadMs).toBe(hour);
});
