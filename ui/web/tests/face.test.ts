import { expect, test } from "vitest";
import { faceOf } from "../src/model/face";
import { node } from "./build";

test("what does not run says so", () => {
  const cases: [string, string, string][] = [
    ["", "running", ""],
    ["Running", "running", ""],
    ["Restarting", "running", ""],
    ["Up 2 hours", "running", ""],
    ["Paused", "paused", "paused"],
    ["Up 2 hours (Paused)", "paused", "up 2 hours (paused)"],
    ["Exited (1)", "stopped", "exited (1)"],
    ["Created", "stopped", "created"],
    ["Dead", "stopped", "dead"],
  ];
  for (const [value, standing, word] of cases) {
    const metadata = [{ id: "docker_container_state_human", value }];
    const face = faceOf(node("a", { labelMinor: "tokyo", metadata }), 0);
    expect([face.standing, face.word], value).toEqual([standing, word]);
    expect(face.minor, value).toBe(word === "" ? "tokyo" : `tokyo · ${word}`);
  }
  expect(faceOf(node("a"), 0).standing).toBe("running");
});

test("a group of one is no stack", () => {
  const cases: [boolean, string, boolean][] = [
    [true, "1 container", false],
    [true, "1 process", false],
    [true, "2 containers", true],
    [true, "11 processes", true],
    [true, "tokyo", true],
    [false, "2 containers", false],
  ];
  for (const [stack, labelMinor, want] of cases)
    expect(faceOf(node("a", { stack, labelMinor }), 0).stack, labelMinor).toBe(want);
});

test("what is not heard of says for how long, before what may be cut off", () => {
  const since = "2026-11-22T09:30:00Z";
  const at = Date.parse(since);
  const cases: [number, string][] = [
    [-5000, "0 s"],
    [0, "0 s"],
    [59_900, "59 s"],
    [180_000, "3 min"],
    [7_200_000, "2 h"],
    [200_000_000, "2 d"],
  ];
  for (const [passedMs, age] of cases) {
    const face = faceOf(node("a", { labelMinor: "tokyo", stale: { state: "gone", since } }), at + passedMs);
    expect([face.stale, face.age, face.minor], age).toEqual(["gone", age, `${age} ago · tokyo`]);
  }
  expect(faceOf(node("a", { labelMinor: "tokyo" }), at)).toMatchObject({
    stale: null,
    age: "",
    minor: "tokyo",
  });
});
