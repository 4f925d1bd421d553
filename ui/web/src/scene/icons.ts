/** Marks of what is outside and known, by the name its rule gives, or known not to be: drawn in the cloud in place of its arrow. */
import type { Strokes } from "./glyphs";

type Stroke = Strokes[number];

/** Strokes written as coordinates from -10 to 10, parted by `|`. */
function lines(text: string): Strokes {
  return text.split("|").map((stroke) => {
    const numbers = stroke.split(" ").map((number) => Number(number) / 10);
    return numbers.flatMap((x, i): Stroke => (i % 2 === 0 ? [[x, numbers[i + 1] ?? 0]] : []));
  });
}

/** An arc around (x, y) between two angles, in eighths of a turn. */
function arc(x: number, y: number, rx: number, ry: number, from = 0, to = 8): Strokes {
  const steps = 2 * (to - from);
  const at = (i: number): [number, number] => {
    const angle = ((from + ((to - from) * i) / steps) * Math.PI) / 4;
    return [(x + rx * Math.cos(angle)) / 10, (y + ry * Math.sin(angle)) / 10];
  };
  return [Array.from({ length: steps + 1 }, (_, i) => at(i))];
}

const BOX = "-9 -6 9 -6 9 6 -9 6 -9 -6";

const MARKS: Readonly<Record<string, Strokes>> = {
  ai: lines("0 -10 2 -2 10 0 2 2 0 10 -2 2 -10 0 -2 -2 0 -10"),
  balancer: lines("0 -9 0 8|-8 8 -8 0 8 0 8 8"),
  cache: lines("2 -10 -6 2 0 2 -2 10 6 -2 0 -2 2 -10"),
  cdn: [...arc(0, 0, 9, 9), ...arc(0, 0, 4, 9), ...lines("-9 0 9 0")],
  certificate: lines("0 -10 8 -7 8 1 0 10 -8 1 -8 -7 0 -10|-4 -1 -1 2 4 -4"),
  chat: lines("-9 -8 9 -8 9 4 -1 4 -5 9 -5 4 -9 4 -9 -8"),
  cloud: [
    ...arc(-5, 2, 4, 4, 2, 6),
    ...arc(0, -2, 5, 5, 4, 8),
    ...arc(5.5, 2.5, 3.5, 3.5, -2, 2),
    ...lines("-5 6 5.5 6"),
  ],
  code: lines("-5 -6 -10 0 -5 6|5 -6 10 0 5 6|2 -8 -2 8"),
  database: [
    ...arc(0, -6, 8, 3),
    ...arc(0, 0, 8, 3, 0, 4),
    ...arc(0, 6, 8, 3, 0, 4),
    ...lines("-8 -6 -8 6|8 -6 8 6"),
  ],
  identity: [...arc(0, -5, 4, 4), ...arc(0, 9, 8, 8, 4, 8)],
  mail: lines(`${BOX} 0 1 9 -6`),
  monitoring: lines("-10 1 -5 1 -2 -7 2 7 5 1 10 1"),
  packages: lines("-8 -5 8 -5 8 8 -8 8 -8 -5 -5 -9 5 -9 8 -5|0 -9 0 -1"),
  payment: lines(`${BOX}|-9 -2 9 -2|-6 3 -2 3`),
  queue: lines("-10 -4 -5 -4 -5 4 -10 4 -10 -4|-3 -4 2 -4 2 4 -3 4 -3 -4|4 0 10 0|7 -3 10 0 7 3"),
  registry: lines("0 -9 9 -4 0 1 -9 -4 0 -9|-9 0 0 5 9 0|-9 4 0 9 9 4"),
  storage: [...arc(0, -6, 8, 3), ...lines("-8 -6 -5.5 8 5.5 8 8 -6")],
  time: [...arc(0, 0, 9, 9), ...lines("0 -5 0 0 4 3")],
  unknown: [...arc(0, -4.5, 5, 4.5, 4, 10), ...lines("0 0 0 4|0 8 0 9.5")],
};

/** The mark of a service; `null` for one this page does not know. */
export function serviceMark(icon: string): Strokes | null {
  return Object.hasOwn(MARKS, icon) ? (MARKS[icon] ?? null) : null;
}
