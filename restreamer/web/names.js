// From the names of segments to what they cover: the rule of common/coverage.py, for drawing. Pure.

import { SECOND, parseHour } from "./times.js";

/** Neighbours whose gap or overlap is at most this join. */
export const JOIN_TOLERANCE = 10;

/** The same content under two start times at most this far apart is one moment. */
const SAME_MOMENT = 5 * SECOND;

const NAME =
  /^([0-5]\d):([0-5]\d)\.(\d{6})-(\d{1,4}(?:\.\d{1,20})?)-(full|suspect|partial|temp)-([A-Za-z0-9_-]{1,86})\.(?:ts|mp4)$/;

const RANK = { full: 2, suspect: 1, partial: 0 };

/** Read the names in the folder of an hour: `{start, end, type, hash}`, by start, what is still written left out. */
export function parseNames(hour, names) {
  const first = parseHour(hour);
  const segments = [];
  for (const name of names) {
    const found = NAME.exec(name);
    if (!found || found[5] === "temp") continue;
    const [, minutes, seconds, micros, lasts, type, hash] = found;
    const start = first + (Number(minutes) * 60 + Number(seconds)) * SECOND + Number(micros) / 1000;
    segments.push({ start, end: start + Number(lasts) * SECOND, type, hash });
  }
  return segments.sort((a, b) => a.start - b.start);
}

/**
 * Choose among the segments of any stretch (by start): the best for each start time, without overlap, each content
 * once.
 */
export function bestSequence(segments) {
  const best = bestByStart(segments);
  const chosen = [];
  const chosenAt = new Map();
  for (const [index, candidate] of best.entries()) {
    const last = chosen.at(-1);
    if (belongsElsewhere(candidate, index, best, last, chosenAt)) continue;
    if (last && last.end - candidate.start > JOIN_TOLERANCE) continue;
    chosen.push(candidate);
    chosenAt.set(candidate.hash, candidate.start);
  }
  return chosen;
}

function bestByStart(segments) {
  const best = [];
  for (const segment of segments) {
    const rival = best.at(-1);
    if (rival?.start !== segment.start) best.push(segment);
    else if (isBetter(segment, rival)) best[best.length - 1] = segment;
  }
  return best;
}

function isBetter(one, other) {
  if (one.type !== other.type) return RANK[one.type] > RANK[other.type];
  return one.end > other.end;
}

const joins = (earlier, later) => Math.abs(later.start - earlier.end) <= JOIN_TOLERANCE;

/** Tell whether a content that stands under several start times is, or will be, chosen under another one. */
function belongsElsewhere(candidate, index, best, last, chosenAt) {
  if (last && joins(last, candidate)) return false;
  const before = chosenAt.get(candidate.hash);
  if (before !== undefined && candidate.start - before <= SAME_MOMENT) return true;
  const others = [];
  for (let at = index + 1; at < best.length && best[at].start - candidate.start <= SAME_MOMENT; at += 1) {
    if (best[at].hash === candidate.hash) others.push(at);
  }
  if (!others.length) return false;
  if (last && others.some((at) => joins(last, best[at]))) return true;
  return !joinsNext(index, best) && others.some((at) => joinsNext(at, best));
}

function joinsNext(index, best) {
  const { end } = best[index];
  for (let at = index + 1; at < best.length && best[at].start - end <= JOIN_TOLERANCE; at += 1) {
    if (joins(best[index], best[at])) return true;
  }
  return false;
}

/** Join a best sequence into spans of one type without a hole: `{start, end, type}`. */
export function toSpans(chosen) {
  const spans = [];
  for (const { start, end, type } of chosen) append(spans, { start, end, type });
  return spans;
}

/** Put spans of neighbouring hours together, in order. */
export function joinSpans(lists) {
  const spans = [];
  for (const list of lists) for (const span of list) append(spans, { ...span });
  return spans;
}

function append(spans, span) {
  const last = spans.at(-1);
  if (last && last.type === span.type && span.start - last.end <= JOIN_TOLERANCE) last.end = Math.max(last.end, span.end);
  else spans.push(span);
}

/** The parts of the range that no span (by start) covers: `{start, end}`. */
export function holesIn(spans, start, end) {
  const holes = [];
  let reached = start;
  for (const span of spans) {
    if (span.end <= reached) continue;
    if (span.start >= end) break;
    if (span.start - reached > JOIN_TOLERANCE) holes.push({ start: reached, end: span.start });
    reached = span.end;
  }
  if (end - reached > JOIN_TOLERANCE) holes.push({ start: reached, end });
  return holes;
}
